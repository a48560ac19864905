"""How a LoRA changes a layer: the weight below it, the adapter's factors, and DoRA's trained magnitudes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from peft.utils.integrations import dequantize_module_weight
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from kdprobe.models.weights import whole

MAGNITUDE = "lora_magnitude_vector"
"""PEFT's name for DoRA's trained magnitudes of the weights' rows."""


def own_weight(module: Any) -> Tensor:
    """A layer's own weight without any adapter, `[out, in]`."""
    base = module.get_base_layer() if hasattr(module, "get_base_layer") else module
    weight = whole(dequantize_module_weight(base).detach())
    # GPT-2's projections store `[in, out]`, and so do embeddings, whose inputs are tokens.
    return weight.T if isinstance(base, Conv1D | nn.Embedding) else weight


def factors(module: Any) -> Iterator[tuple[str, Tensor, Tensor]]:
    """The name, A `[rank, in]` and B `[out, rank]` of each adapter of a layer, without its scale."""
    for name, first in (getattr(module, "lora_A", None) or {}).items():
        yield name, whole(first.weight.detach()), whole(module.lora_B[name].weight.detach())
    for name, first in (getattr(module, "lora_embedding_A", None) or {}).items():
        yield name, whole(first.detach()), whole(module.lora_embedding_B[name].detach())


def is_dora(module: Any, adapter: str) -> bool:
    """Whether an adapter also trains the magnitudes of the layer's rows."""
    return adapter in getattr(module, MAGNITUDE, {})


def dora_change(module: Any, adapter: str, update: Tensor) -> Tensor:
    """The change from W to m (W + BA) / ||W + BA||, rows normalised (Liu et al., 2024, arXiv 2402.09353, eq. 5).

    Args:
        module: The layer.
        adapter: The name of an adapter with magnitudes m.
        update: Its scaled BA, `[out, in]`, float64.
    """
    weight = own_weight(module).double()
    magnitude = whole(getattr(module, MAGNITUDE)[adapter].weight.detach()).double()
    stretch: Tensor = magnitude / torch.linalg.vector_norm(weight + update, dim=1) - 1
    # Magnitudes are stored in float32. If a row's direction did not change, a magnitude that differs from its length
    # only by rounding equals the length, and the row is unchanged.
    rounding = 4 * torch.finfo(torch.float32).eps
    stretch[(update == 0).all(dim=1) & (stretch.abs() <= rounding)] = 0
    return stretch[:, None] * weight + (1 + stretch[:, None]) * update
