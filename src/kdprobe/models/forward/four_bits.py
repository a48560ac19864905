"""Checks that bitsandbytes decodes weights in 4 bits as they were encoded. Needs bitsandbytes.

On CPUs with AVX-512, version 0.50 decodes matrices wrongly whose rows do not consist of whole blocks.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from bitsandbytes.functional import dequantize_4bit
from torch import Tensor

from kdprobe.errors import KdprobeError


def refuse_misread(layers: Iterable[Any], name: str) -> None:
    """Checks one layer of each shape, on the device on which it computes.

    Args:
        layers: Layers of bitsandbytes in 4 bits.
        name: The model.

    Raises:
        KdprobeError: Its weight is decoded wrongly.
    """
    by_shape = {(tuple(layer.weight.quant_state.shape), layer.weight.quant_state.blocksize): layer for layer in layers}
    for (shape, blocksize), layer in by_shape.items():
        weight = layer.weight
        found, expected = dequantize_4bit(weight.data, weight.quant_state), decoded(weight)
        if not torch.allclose(found.float(), expected, rtol=4 * torch.finfo(found.dtype).eps, atol=0):
            raise KdprobeError(
                f"On this device ({weight.device.type}), bitsandbytes misreads the 4-bit weights of {name!r}: matrices "
                f"of {shape[0]} x {shape[1]} in blocks of {blocksize}.",
                "Use a GPU, another version of bitsandbytes, 8 bits, or weights that are not quantised.",
            )


def decoded(weight: Any) -> Tensor:
    """What the bits of a weight stand for, `[out, in]`, float32: a value from a table times the scale of its block.

    Args:
        weight: A weight of bitsandbytes, two values to a byte; its scales may be quantised too.
    """
    state = weight.quant_state
    scales = state.absmax
    if state.nested:
        steps = state.state2.absmax.repeat_interleave(state.state2.blocksize)[: len(scales)]
        scales = state.state2.code[scales.long()] * steps + state.offset
    packed = weight.data.view(torch.uint8).flatten()
    values = state.code.float()[torch.stack([packed >> 4, packed & 15], dim=1).flatten().long()]
    values = values * scales.float().repeat_interleave(state.blocksize)[: len(values)]
    whole: Tensor = values[: state.shape.numel()].view(state.shape)
    return whole
