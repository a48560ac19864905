"""The attention weights of a peft model by layer and head, and what its adapter changes in them, in float64."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from peft.utils.integrations import dequantize_module_weight
from torch import Tensor

from kdprobe.distill.adapter import MAGNITUDE
from kdprobe.errors import KdprobeError
from kdprobe.probing.circuits import Change

_PROJECTION = re.compile(r"\.(\d+)\.(?:self_attn|attn|attention)\.(q|k|v|o|out)_proj$")


@dataclass(frozen=True)
class HeadWeights:
    """One of a layer's four attention weights, by heads.

    Attributes:
        weight: Of the base, `[head, head_dim, d_model]`; of the output projection the transpose, so that all four
            have one shape. Queries and outputs have as many heads as the layer, keys and values may have fewer.
        change: What the adapter adds, or `None` where it leaves the weight alone.
    """

    weight: Tensor
    change: Change | None

    def of_heads(self, heads: Tensor) -> HeadWeights:
        """The weights that these heads use, in this order."""
        return HeadWeights(self.weight[heads], self.change and self.change.of_heads(heads))


def attention_weights(model: Any, adapter: str) -> Iterator[tuple[int, dict[str, HeadWeights]]]:
    """Goes through the layers.

    Args:
        model: A peft model; its base weights are read, whatever adapter is active.
        adapter: Which of its adapters.

    Yields:
        A layer's number, and its weights `q`, `k`, `v` and `o`, those of keys and values repeated for the query heads
        that share them.

    Raises:
        KdprobeError: The architecture has no such weights under the names that are known here.
    """
    layers: dict[int, dict[str, Any]] = {}
    for name, module in model.named_modules():
        if found := _PROJECTION.search(name):
            layers.setdefault(int(found[1]), {})[found[2][0]] = module
    if not layers or any(len(projections) < 4 for projections in layers.values()):  # noqa: PLR2004
        raise KdprobeError(
            "The geometry of heads needs attention layers with q_proj, k_proj, v_proj and o_proj.",
            "This architecture keeps its attention weights in another form; leave the analysis out.",
        )
    config = model.config.get_text_config()
    heads = config.num_attention_heads
    key_heads = getattr(config, "num_key_value_heads", None) or heads
    shared = torch.arange(heads, device=model.device) // (heads // key_heads)
    for layer, projections in sorted(layers.items()):
        weights = {
            name: _by_heads(module, adapter, heads if name in {"q", "o"} else key_heads, transposed=name == "o")
            for name, module in projections.items()
        }
        yield layer, {name: part.of_heads(shared) if name in {"k", "v"} else part for name, part in weights.items()}


def _by_heads(module: Any, adapter: str, heads: int, *, transposed: bool) -> HeadWeights:
    def split(matrix: Tensor) -> Tensor:
        return matrix.unflatten(0, (heads, -1))

    base = module.get_base_layer() if hasattr(module, "get_base_layer") else module
    weight = dequantize_module_weight(base).detach().double()
    rows = split(weight.T if transposed else weight)
    if adapter not in getattr(module, "lora_A", {}):
        return HeadWeights(rows, None)
    a, b = module.lora_A[adapter].weight.detach().double(), module.lora_B[adapter].weight.detach().double()
    b = module.scaling[adapter] * b
    magnitudes = getattr(module, MAGNITUDE, {})
    if adapter in magnitudes:
        dense = split(_dora_change(weight, b @ a, magnitudes[adapter].weight.detach().double(), transposed=transposed))
        # Not of low rank: taken as it is, times one.
        identity = torch.eye(dense.shape[1], dtype=dense.dtype, device=dense.device)
        return HeadWeights(rows, Change(identity.expand(heads, -1, -1), dense))
    return HeadWeights(rows, Change(split(a.T), b.T[None]) if transposed else Change(split(b), a[None]))


def _dora_change(weight: Tensor, update: Tensor, magnitude: Tensor, *, transposed: bool) -> Tensor:
    """m (W + BA) / ||W + BA|| - W, rows normalised (Liu et al., 2024, arXiv 2402.09353, eq. 5)."""
    turned = weight + update
    length = torch.linalg.vector_norm(turned, dim=1)
    # Magnitudes are kept in float32: where nothing turned, one that differs from the length by their rounding alone is
    # the length itself, and the row is as it was.
    rounding = 4 * torch.finfo(torch.float32).eps
    same = (update == 0).all(dim=1) & ((magnitude / length - 1).abs() <= rounding)
    stretch = torch.where(same, 0.0, magnitude / length - 1)[:, None]
    change = stretch * weight + (1 + stretch) * update
    return change.T if transposed else change
