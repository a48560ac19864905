"""The names of the linear projections of a model's attention, for any architecture."""

from __future__ import annotations

from functools import cache
from typing import Any

from torch import nn
from transformers.pytorch_utils import Conv1D

from kdprobe.models.anatomy import ATTENTION, decoder_layers
from kdprobe.models.outline.module_names import is_named, suffixes

_CHOOSERS = {"indexer", "router"}
"""Parts of attention that choose tokens or experts: they are not projections, and an indexer gets no gradient."""


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

    return list(dict.fromkeys(next(filter(belongs_to_attention, suffixes(name))) for name in modules if name in wanted))


def _is_attention(parents: list[str]) -> bool:
    return not set(ATTENTION).isdisjoint(parents) and _CHOOSERS.isdisjoint(parents)
