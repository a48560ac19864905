"""Norms as linear maps: with a token's scale held fixed, the norm of a sum is a sum over its parts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

TOLERANCE = 1e-3
"""Largest error allowed when a norm's output is reconstructed, relative to its largest entry."""


@dataclass(frozen=True)
class HeldNorm:
    """The linear map that a norm applied to some tokens.

    Attributes:
        slope: Its factors, `[token, d_model]`: the token's scale times the norm's weight.
        bias: The added bias, `[d_model]`.
        centred: Whether it subtracted the mean first, as LayerNorm does and RMSNorm does not.
    """

    slope: Tensor
    bias: Tensor
    centred: bool

    def back(self, direction: Tensor) -> Tensor:
        """Maps a direction on the norm's output to one on its input, both `[token, d_model]`."""
        turned = direction * self.slope
        return turned - turned.mean(dim=-1, keepdim=True) if self.centred else turned


def held_norm(norm: Any, inputs: Tensor, outputs: Tensor) -> HeldNorm | None:
    """Finds how a module normalised some tokens, from its output; `None` if it is not a LayerNorm or RMSNorm.

    Args:
        norm: The module.
        inputs: Its input, `[token, d_model]`.
        outputs: Its output, of the same shape.
    """
    # With length one and mean zero, so that either kind of norm changes it only by its weight.
    probe = torch.ones_like(inputs[0])
    probe[1::2] = -1
    probed = norm(torch.stack([torch.zeros_like(probe), probe, probe + 1])[None])[0]
    bias, weighted, shifted = probed.to(inputs.device)
    weight = (weighted - bias) * probe
    centred = bool(torch.allclose(shifted, weighted, rtol=1e-3, atol=1e-4))
    read = inputs - inputs.mean(dim=-1, keepdim=True) if centred else inputs
    unscaled, written = read * weight, outputs - bias
    scale = (unscaled * written).sum(dim=-1, keepdim=True) / unscaled.square().sum(dim=-1, keepdim=True)
    error = (scale * unscaled - written).abs().max()
    if not error <= TOLERANCE * written.abs().max():
        return None
    return HeldNorm(scale * weight, bias, centred)
