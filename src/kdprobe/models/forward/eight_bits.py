"""Linear layers whose weights are in 8 bits and whose inputs are not. Needs bitsandbytes."""

from __future__ import annotations

from typing import Any

import torch
from bitsandbytes.nn.modules import Linear8bitLt
from torch import Tensor

from kdprobe.errors import KdprobeError


def compute_exactly(layer: Any) -> None:
    """Makes a layer multiply its inputs, as they are, by the weights that its 8 bits stand for.

    Args:
        layer: A `Linear8bitLt` of bitsandbytes.

    Raises:
        KdprobeError: Its weights are not in 8 bits.
    """
    if layer.weight.dtype != torch.int8 or layer.weight.SCB is None:
        raise KdprobeError(
            "The model's configuration sets llm_int8_has_fp16_weight, so its weights are not stored in 8 bits.",
            "Use weights that are not quantised.",
        )
    # A buffer, because copies of a model share buffers.
    layer.register_buffer("scales", layer.weight.SCB.float(), persistent=False)
    layer.__class__ = _EightBits


class _EightBits(Linear8bitLt):
    """A linear layer that keeps its weight in 8 bits, with a scale for each row."""

    scales: Tensor

    def forward(self, x: Tensor) -> Tensor:
        product: Tensor = _Product.apply(x, self.weight.data, self.scales)  # type: ignore[no-untyped-call]
        return product if self.bias is None else product + self.bias.to(x.dtype)


class _Product(torch.autograd.Function):
    """Inputs times the dequantised weight, which is not kept for the backward pass but dequantised again."""

    @staticmethod
    def forward(context: Any, x: Tensor, weight: Tensor, scales: Tensor) -> Tensor:
        context.save_for_backward(weight, scales)
        return x @ _dequantised(weight, scales, x.dtype).T

    @staticmethod
    def backward(context: Any, *above: Tensor) -> tuple[Tensor | None, ...]:
        weight, scales = context.saved_tensors
        return above[0] @ _dequantised(weight, scales, above[0].dtype), None, None


def _dequantised(weight: Tensor, scales: Tensor, dtype: torch.dtype) -> Tensor:
    """The weight `[out, in]`: each row times its largest absolute value / 127."""
    return (weight.float() * (scales[:, None] / 127)).to(dtype)
