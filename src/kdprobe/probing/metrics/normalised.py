"""The published metrics without the influence of length: for comparing prompts of different lengths."""

from __future__ import annotations

import torch
from torch import Tensor

from kdprobe.probing.metrics.published import keys_above
from kdprobe.probing.patterns.view import PatternView


def entropy(view: PatternView) -> Tensor:
    """Mean over query rows of entropy / log(visible keys): 0 for one key, 1 for uniform attention; `[batch, head]`.

    The first query sees one key only and is left out.
    """
    return view.mean_over_queries(view.row_entropy / view.visible.log()[:, None], view.visible > 1)


def self_attention(view: PatternView) -> Tensor:
    """Mean over query rows of (diagonal - 1/visible) / (1 - 1/visible), `[batch, head]`.

    0 for uniform attention, 1 for all of it on the query itself. The first query sees nothing else and is left out.
    """
    uniform = 1 / view.visible[:, None]
    diagonal = view.pattern.diagonal(dim1=-2, dim2=-1)
    return view.mean_over_queries((diagonal - uniform) / (1 - uniform), view.visible > 1)


def sparsity(view: PatternView) -> Tensor:
    """How many keys of a query row are above 0.1, on average, `[batch, head]`; the published share times S."""
    return view.mean_over_queries(keys_above(view))


def similarity(view: PatternView) -> Tensor:
    """Mean over query rows of the cosine with the layer below's row, `[batch, head]`; NaN in layer 0.

    In the cosine of flattened patterns, early rows, whose attention is on few keys, weigh most.
    """
    if view.below is None:
        return torch.full(view.pattern.shape[:2], torch.nan, device=view.pattern.device)
    return view.mean_over_queries(view.row_products / (view.row_squares * view.below_squares).sqrt())
