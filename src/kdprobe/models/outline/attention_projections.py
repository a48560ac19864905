"""The names of the linear projections of a model's attention, for any architecture."""

from __future__ import annotations

from functools import cache
from itertools import takewhile
from typing import Any

from torch import nn
from transformers.pytorch_utils import Conv1D

from kdprobe.models.anatomy import ATTENTION, decoder_layers

_CHOOSERS = {"indexer", "router"}
"""Parts of attention that choose tokens or experts: they are not projections, and an indexer gets no gradient."""


def is_named(name: str, target: str) -> bool:
    """Whether a target matches a module's name, as in PEFT: the whole name, or its end after a dot."""
    return f".{name}".endswith(f".{target}")


def attention_projections(model: Any) -> list[str]:
    """The linear projections of attention in all layers, as target modules for PEFT.

    Each is named by the shortest suffix that nothing else has: `q_proj`, or `attn.c_proj` if the MLP also has a
    `c_proj`. If an image tower has the same suffixes, full names are given.

    Args:
        model: The model, or its modules without weights.

    Returns:
        Names in the order within a layer; empty if no layer has attention under a usual name.
    """
    layers, modules = decoder_layers(model), dict(model.named_modules())
    prefixes = tuple(f"{name}." for name, module in modules.items() if any(module is layer for layer in layers))
    wanted = {
        name
        for name, module in modules.items()
        if isinstance(module, nn.Linear | Conv1D) and name.startswith(prefixes) and _is_attention(name.split(".")[:-1])
    }

    @cache
    def belongs_to_attention(end: str) -> bool:
        return all(name in wanted for name in modules if is_named(name, end))

    return list(dict.fromkeys(next(filter(belongs_to_attention, _ends(name))) for name in modules if name in wanted))


def _is_attention(parents: list[str]) -> bool:
    return not set(ATTENTION).isdisjoint(parents) and _CHOOSERS.isdisjoint(parents)


def _ends(name: str) -> list[str]:
    """Suffixes of a name without the layer number, shortest first, then the whole name: `c`, `b.c`, `a.0.b.c`."""
    parts = name.split(".")
    within = list(takewhile(lambda part: not part.isdigit(), reversed(parts)))[::-1]
    return [*(".".join(within[start:]) for start in reversed(range(len(within)))), name]
