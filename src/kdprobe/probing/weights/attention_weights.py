"""A model's attention weights by layer and head, and what training changed in them, in float64."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from peft.utils.integrations import dequantize_module_weight
from torch import Tensor

from kdprobe.distill.adapter import MAGNITUDE
from kdprobe.errors import KdprobeError
from kdprobe.models.anatomy import anatomy
from kdprobe.probing.weights.circuits import Change

Update = tuple[Tensor, Tensor] | Tensor | None
"""What is added to a weight `[out, in]`: factors `[out, rank]` and `[rank, in]`, the whole of it, or nothing."""


@dataclass(frozen=True)
class HeadWeights:
    """One of a layer's four attention weights, by heads.

    Attributes:
        weight: Before training, `[head, head_dim, d_model]`; of the output projection the transpose, so that all four
            have one shape. Keys and values are repeated for the query heads that share them.
        change: What training added, or `None` where it left the weight alone.
    """

    weight: Tensor
    change: Change | None


def adapter_weights(model: Any, adapter: str) -> Iterator[dict[str, HeadWeights]]:
    """A base's weights and what one of its adapters adds, layer by layer, as the adapter's own factors.

    Args:
        model: A peft model; which of its adapters is active does not matter.
        adapter: The adapter's name.

    Yields:
        `q`, `k`, `v` and `o` of each layer.

    Raises:
        KdprobeError: The architecture does not keep its attention weights in four projections.
    """
    return _layers(model, lambda _name, module: _adapter_update(module, adapter))


def full_weights(before: Any, after: Any) -> Iterator[dict[str, HeadWeights]]:
    """The same for two whole models: one that was trained without an adapter, and what it was before.

    Raises:
        KdprobeError: Their weights have different shapes, or are not kept in four projections.
    """
    shapes = [{name: weight.shape for name, weight in model.named_parameters()} for model in (before, after)]
    if shapes[0] != shapes[1]:
        raise KdprobeError(
            "The geometry of heads compares a model with what it was before training; these two differ in shape.",
            "Give the base that the student was trained from.",
        )
    trained = dict(after.named_modules())
    return _layers(before, lambda name, module: _weight(trained[name]) - _weight(module))


def _layers(model: Any, update: Callable[[str, Any], Update]) -> Iterator[dict[str, HeadWeights]]:
    parts = anatomy(model)
    names = {module: name for name, module in model.named_modules()}
    config = model.config.get_text_config()
    key_heads = getattr(config, "num_key_value_heads", None) or parts.heads
    key_head = torch.arange(parts.heads, device=model.device) // (parts.heads // key_heads)
    for attention, output in zip(parts.attentions, parts.outputs, strict=True):
        modules = {name: getattr(attention, f"{name}_proj", None) for name in ("q", "k", "v")} | {"o": output}
        if None in modules.values():
            raise KdprobeError(
                "The geometry of heads needs attention layers with q_proj, k_proj, v_proj and an output projection.",
                f"This architecture ({config.model_type}) keeps its weights in another form; leave the analysis out.",
            )
        weights = {}
        for name, module in modules.items():
            heads, index = (key_heads, key_head) if name in {"k", "v"} else (parts.heads, slice(None))
            weights[name] = _by_heads(_weight(module), update(names[module], module), heads, name == "o", index)
        yield weights


def _by_heads(weight: Tensor, update: Update, heads: int, transposed: bool, index: Tensor | slice) -> HeadWeights:
    """Cuts a weight and its update into heads; `index` says which of them each query head uses."""

    def split(matrix: Tensor) -> Tensor:
        return matrix.reshape(heads, -1, matrix.shape[1])[index]

    if transposed:
        weight = weight.T
        update = (update[1].T, update[0].T) if isinstance(update, tuple) else update if update is None else update.T
    if update is None:
        return HeadWeights(split(weight), None)
    if isinstance(update, tuple):
        return HeadWeights(split(weight), Change(split(update[0]), update[1][None]))
    # Not of low rank: each head's own rows, times one.
    rows = split(update)
    identity = torch.eye(rows.shape[1], dtype=rows.dtype, device=rows.device)
    return HeadWeights(split(weight), Change(identity.expand(len(rows), -1, -1), rows))


def _adapter_update(module: Any, adapter: str) -> Update:
    """What an adapter adds to a projection: scaled B and A, with DoRA the whole change."""
    if adapter not in getattr(module, "lora_A", {}):
        return None
    a, b = (part[adapter].weight.detach().double() for part in (module.lora_A, module.lora_B))
    b = module.scaling[adapter] * b
    magnitudes = getattr(module, MAGNITUDE, {})
    if adapter not in magnitudes:
        return b, a
    return _dora_change(_weight(module), b @ a, magnitudes[adapter].weight.detach().double())


def _dora_change(weight: Tensor, update: Tensor, magnitude: Tensor) -> Tensor:
    """The change to m (W + BA) / ||W + BA||, rows normalised (Liu et al., 2024, arXiv 2402.09353, eq. 5)."""
    stretch: Tensor = magnitude / torch.linalg.vector_norm(weight + update, dim=1) - 1
    # Magnitudes are kept in float32. Where nothing turned, one that differs from the length by their rounding alone is
    # the length itself, and the row is as it was.
    rounding = 4 * torch.finfo(torch.float32).eps
    stretch[(update == 0).all(dim=1) & (stretch.abs() <= rounding)] = 0
    return stretch[:, None] * weight + (1 + stretch[:, None]) * update


def _weight(module: Any) -> Tensor:
    """A projection's own weight without any adapter, `[out, in]`, float64."""
    base = module.get_base_layer() if hasattr(module, "get_base_layer") else module
    weight: Tensor = dequantize_module_weight(base).detach().double()
    return weight
