"""The published metrics without the influence of length, for comparing prompts of different lengths."""

from __future__ import annotations

import torch
from torch import Tensor

from kdprobe.probing.metrics.published import keys_above
from kdprobe.probing.patterns.view import PatternView


def entropy(view: PatternView) -> Tensor:
    """Mean over query rows of entropy / log(visible keys): 0 for one key, 1 for uniform attention; `[batch, head]`.

    The first query sees only one key and is skipped.
    """
    return view.mean_over_queries(view.row_entropy / view.visible.log()[:, None], view.visible > 1)


def self_attention(view: PatternView) -> Tensor:
    """Mean over query rows of (diagonal - 1/visible) / (1 - 1/visible), `[batch, head]`.

    0 for uniform attention, 1 if all of it is on the query itself. The first query sees nothing else and is skipped.
    """
    uniform = 1 / view.visible[:, None]
    diagonal = view.pattern.diagonal(dim1=-2, dim2=-1)
    return view.mean_over_queries((diagonal - uniform) / (1 - uniform), view.visible > 1)


def sparsity(view: PatternView) -> Tensor:
    """Mean number of keys per query row above 0.1, `[batch, head]`; the published share times S."""
    return view.mean_over_queries(keys_above(view))


def similarity(view: PatternView) -> Tensor:
    """Mean over query rows of the cosine with the layer below's row, `[batch, head]`; NaN in layer 0.

    In the cosine of flattened patterns, early rows, whose attention is spread over few keys, have the most weight.
    """
    if view.below is None:
        return torch.full(view.pattern.shape[:2], torch.nan, device=view.pattern.device)
    return view.mean_over_queries(view.row_products / (view.row_squares * view.below_squares).sqrt())
