"""Norms as linear maps: with the scale of a token held at what it is, a norm of a sum is a sum over its parts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

TOLERANCE = 1e-3
"""Largest error allowed when a norm's output is put together again, relative to its largest entry."""


@dataclass(frozen=True)
class HeldNorm:
    """What a norm did to some tokens.

    Attributes:
        slope: By which it multiplied, `[token, d_model]`: the token's scale times the norm's weight.
        bias: What it added, `[d_model]`.
        centred: Whether it took the mean off first, as LayerNorm does and RMSNorm does not.
    """

    slope: Tensor
    bias: Tensor
    centred: bool

    def back(self, direction: Tensor) -> Tensor:
        """A direction on the norm's output as one on its input, `[token, d_model]` both."""
        turned = direction * self.slope
        return turned - turned.mean(dim=-1, keepdim=True) if self.centred else turned


def held_norm(norm: Any, inputs: Tensor, outputs: Tensor) -> HeldNorm | None:
    """How a module normed some tokens, from its own output; `None` where it is no LayerNorm or RMSNorm.

    Args:
        norm: The module.
        inputs: What it read, `[token, d_model]`.
        outputs: What it wrote, of the same shape.
    """
    # Of length one and mean zero, so that both kinds of norm leave it but for their weight.
    probe = torch.ones_like(inputs[0])
    probe[1::2] = -1
    bias, weighted, shifted = norm(torch.stack([torch.zeros_like(probe), probe, probe + 1])[None])[0]
    weight = (weighted - bias) * probe
    centred = bool(torch.allclose(shifted, weighted, rtol=1e-3, atol=1e-4))
    read = inputs - inputs.mean(dim=-1, keepdim=True) if centred else inputs
    unscaled, written = read * weight, outputs - bias
    scale = (unscaled * written).sum(dim=-1, keepdim=True) / unscaled.square().sum(dim=-1, keepdim=True)
    error = (scale * unscaled - written).abs().max()
    if not error <= TOLERANCE * written.abs().max():
        return None
    return HeldNorm(scale * weight, bias, centred)
