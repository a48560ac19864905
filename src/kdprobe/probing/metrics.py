"""Head metrics: from the attention pattern of a batch to one number per sequence and head.

The four that were published (Goyal et al., 2024, arXiv 2412.17846, and their script): entropy, self-attention focus,
sparsity and similarity to the layer below. Padding is on the right and masked out of all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

SPARSITY_THRESHOLD = 0.1
"""As published."""


@dataclass(frozen=True)
class PatternView:
    """A layer's attention patterns over one batch.

    Attributes:
        pattern: Post-softmax attention, `[batch, head, query, key]`, float32.
        below: The same of the layer below, or `None` in the first layer.
        valid: Which positions are real tokens, `[batch, position]`, boolean.
        layer: Which layer, from 0.
    """

    pattern: Tensor
    below: Tensor | None
    valid: Tensor
    layer: int

    @property
    def lengths(self) -> Tensor:
        """Real tokens per sequence, `[batch, 1]`."""
        lengths: Tensor = self.valid.sum(dim=1, keepdim=True)
        return lengths.to(self.pattern.dtype)

    @property
    def real(self) -> Tensor:
        """The pattern with the rows of padded queries set to zero; padded keys are zero already.

        Returns:
            `[batch, head, query, key]`.
        """
        return self.pattern * self.valid[:, None, :, None]


def entropy(view: PatternView) -> Tensor:
    """Mean entropy of the query rows, in nats, `[batch, head]`."""
    total: Tensor = -torch.special.xlogy(view.real, view.real).sum(dim=(-2, -1))
    return total / view.lengths


def self_attention(view: PatternView) -> Tensor:
    """Self-attention focus: mean of the diagonal, `[batch, head]`."""
    return view.real.diagonal(dim1=-2, dim2=-1).sum(dim=-1) / view.lengths


def sparsity(view: PatternView) -> Tensor:
    """Share of all S x S cells above 0.1, the masked upper triangle counted in, as published; `[batch, head]`."""
    return (view.real > SPARSITY_THRESHOLD).sum(dim=(-2, -1)) / view.lengths**2


def similarity(view: PatternView) -> Tensor:
    """Cosine of the flattened pattern with the same head's one layer below, `[batch, head]`; NaN in layer 0."""
    if view.below is None:
        return torch.full(view.pattern.shape[:2], torch.nan, device=view.pattern.device)
    here, below = view.real, view.below * view.valid[:, None, :, None]
    product = (here * below).sum(dim=(-2, -1))
    # Rows of attention sum to one, so no norm is zero.
    return product / (_norm(here) * _norm(below))


HEAD_METRICS: dict[str, Callable[[PatternView], Tensor]] = {
    "entropy": entropy,
    "self_attention": self_attention,
    "sparsity": sparsity,
    "similarity": similarity,
}


def _norm(pattern: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(pattern, dim=(-2, -1))
    return norm
