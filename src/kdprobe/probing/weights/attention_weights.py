"""A model's attention weights by layer and head, and how training changed them, in float64."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kdprobe.errors import KdprobeError
from kdprobe.models.merging.lora import dora_change, is_dora, own_weight
from kdprobe.probing.weights.circuits import Change
from kdprobe.probing.weights.projections import Projection, layer_projections

Update = tuple[Tensor, Tensor] | Tensor | None
"""The change in a weight `[out, in]`: factors `[out, rank]` and `[rank, in]`, the full matrix, or nothing."""


@dataclass(frozen=True)
class HeadWeights:
    """One of a layer's four attention weights, by heads.

    Attributes:
        weight: The weight before training, `[head, head_dim, d_model]`; transposed for the output projection, so that
            all four have the same shape. Keys and values are repeated for the query heads that share them.
        change: What training added, or `None` if it did not change the weight.
    """

    weight: Tensor
    change: Change | None


def adapter_weights(model: Any, adapter: str) -> Iterator[dict[str, HeadWeights]]:
    """Yields a base's weights and what one of its LoRA adapters adds, layer by layer, as the adapter's factors.

    Args:
        model: A peft model; which of its adapters is active does not matter.
        adapter: The adapter's name.

    Yields:
        `q`, `k`, `v` and `o` of each layer.

    Raises:
        KdprobeError: The architecture stores its attention weights in an unknown form.
    """
    for projections in layer_projections(model):
        yield {
            name: _by_heads(projection, _adapter_update(projection.module, adapter))
            for name, projection in projections.items()
        }


def full_weights(before: Any, after: Any) -> Iterator[dict[str, HeadWeights]]:
    """Yields the same for two whole models, one after and one before training, however it was trained.

    Raises:
        KdprobeError: Their attention weights have different shapes, or are stored in an unknown form.
    """
    layers, trained_layers = list(layer_projections(before)), list(layer_projections(after))
    if _shapes(layers) != _shapes(trained_layers):
        raise KdprobeError(
            "The analysis 'geometry' compares a model with its state before training, but the attention weights of "
            "these two models differ in shape.",
            "Use the base that the student was trained from.",
        )
    for projections, trained in zip(layers, trained_layers, strict=True):
        yield {
            name: _by_heads(projection, _difference(projection, trained[name]))
            for name, projection in projections.items()
        }


def _shapes(layers: list[dict[str, Projection]]) -> list[list[tuple[Any, ...]]]:
    """Sizes of all projections, and how they are split into heads."""
    return [
        [(own_weight(projection.module).shape, projection.rows.tolist()) for projection in projections.values()]
        for projections in layers
    ]


def _difference(projection: Projection, trained: Projection) -> Tensor | None:
    difference = own_weight(trained.module).double() - own_weight(projection.module).double()
    return difference if difference.any() else None


def _by_heads(projection: Projection, update: Update) -> HeadWeights:
    """Splits a weight and its update into heads."""
    weight = own_weight(projection.module).double()
    if projection.is_output:
        weight = weight.T
        update = (update[1].T, update[0].T) if isinstance(update, tuple) else update if update is None else update.T
    by_heads = weight[projection.rows]
    if update is None:
        return HeadWeights(by_heads, None)
    if isinstance(update, tuple):
        return HeadWeights(by_heads, Change(update[0][projection.rows], update[1][None]))
    # A full matrix: each head's own rows, times the identity.
    rows = update[projection.rows]
    identity = torch.eye(rows.shape[1], dtype=rows.dtype, device=rows.device)
    return HeadWeights(by_heads, Change(identity.expand(len(rows), -1, -1), rows))


def _adapter_update(module: Any, adapter: str) -> Update:
    """What an adapter adds to a projection: scaled B and A, or with DoRA the full change."""
    if adapter not in getattr(module, "lora_A", {}):
        return None
    a, b = (part[adapter].weight.detach().double() for part in (module.lora_A, module.lora_B))
    b = module.scaling[adapter] * b
    return dora_change(module, adapter, b @ a) if is_dora(module, adapter) else (b, a)
