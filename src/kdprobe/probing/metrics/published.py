"""The four published metrics (Goyal et al., 2024, arXiv 2412.17846, and their script), exactly."""

from __future__ import annotations

import torch
from torch import Tensor

from kdprobe.probing.patterns.view import PatternView

SPARSITY_THRESHOLD = 0.1
"""As published."""


def entropy(view: PatternView) -> Tensor:
    """Mean entropy of the query rows, in nats, `[batch, head]`."""
    return view.mean_over_queries(view.row_entropy)


def self_attention(view: PatternView) -> Tensor:
    """Self-attention focus: mean of the diagonal, `[batch, head]`."""
    return view.mean_over_queries(view.pattern.diagonal(dim1=-2, dim2=-1))


def sparsity(view: PatternView) -> Tensor:
    """Share of all S x S cells above 0.1, including the masked upper triangle, `[batch, head]`."""
    return view.mean_over_queries(keys_above(view)) / view.valid_keys.sum(dim=-1, keepdim=True)


def similarity(view: PatternView) -> Tensor:
    """Cosine of the flattened pattern with the same head's one layer below, `[batch, head]`; NaN in layer 0."""
    if view.below is None:
        return torch.full(view.pattern.shape[:2], torch.nan, device=view.pattern.device)
    total = view.mean_over_queries
    # Rows of attention sum to one, so no norm is zero. Both are means over the same rows, so their number cancels.
    return total(view.row_products) / (total(view.row_squares) * total(view.below_squares)).sqrt()


def keys_above(view: PatternView) -> Tensor:
    """The number of keys of each query row above the threshold, `[batch, head, query]`."""
    return view.keep("keys above", lambda: view.over_keys(_above, view.pattern))


def _above(pattern: Tensor, memory: Tensor) -> Tensor:
    return torch.gt(pattern, SPARSITY_THRESHOLD, out=memory).sum(dim=-1)
