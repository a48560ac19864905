"""Replacements for a head's output: zero, its mean over the data set, or the output of another student's head.

A head's output here means what it adds to the residual stream, z times its W_O. A donor provides both, so a head from
another student comes with that student's W_O, and patching transfers everything that training did to the head.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from kdprobe.probing.interventions.forward import HeadOutputs

Ablation = Literal["mean", "zero"]


@dataclass(frozen=True)
class Donor:
    """Outputs that replace a student's.

    Attributes:
        z: Per sequence, `[layer, position, head, head_dim]`, in main memory; a single position applies to all.
        matrices: The W_O that belongs to them, for each layer `[head, head_dim, d_model]`.
    """

    z: list[Tensor]
    matrices: list[Tensor]


def written(z: Tensor, matrices: Tensor) -> Tensor:
    """The product of z and W_O, head by head.

    Args:
        z: `[position, head, head_dim]`.
        matrices: `[head, head_dim, d_model]`.

    Returns:
        `[head, position, d_model]`.
    """
    return z.transpose(0, 1) @ matrices


def ablated(outputs: HeadOutputs, kind: Ablation) -> Donor:
    """Zero, or every head's mean over all positions of all sequences (Wang et al., 2022, arXiv 2211.00593)."""
    total = torch.stack([z.sum(dim=1) for z in outputs.z]).sum(dim=0)
    mean = total / sum(z.shape[1] for z in outputs.z)
    constant = (mean if kind == "mean" else torch.zeros_like(mean))[:, None]
    return Donor([constant] * len(outputs.z), outputs.matrices)


def patched(source: HeadOutputs) -> Donor:
    """The outputs of another student's heads on the same tokens, with its W_O."""
    return Donor(source.z, source.matrices)
