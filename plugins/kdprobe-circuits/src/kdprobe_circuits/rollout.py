"""The head metric `rollout_to_numbers`: how much of what a head reads ultimately comes from the question's numbers.

A position in a late layer holds what earlier layers moved there, so attending to it means attending to where that came
from. Attention rollout (Abnar & Zuidema, "Quantifying Attention Flow in Transformers" (2020), arXiv 2005.00928)
traces it back: every layer passes on half of a position's own state (the residual stream) and half of what its heads
read, averaged over heads. Here a head's own pattern is applied to the rollout of all layers below it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from kdprobe.probing import PatternView

_NAME = "rollout of kdprobe-circuits, up to layer"


def build(_options: None) -> Callable[[PatternView], Tensor]:
    """Returns the metric."""
    return rollout_to_numbers


def rollout_to_numbers(view: PatternView) -> Tensor:
    """Returns the mean over the answer's queries, `[batch, head]`; NaN if the question has no numbers."""
    below = _below(view)
    numbers = view.spans["numbers"] & view.valid_keys
    # How much of each position in the layer below comes from the numbers, `[batch, position]`, and what a head reads.
    held = (below * numbers[:, None]).sum(dim=-1)
    read = (view.pattern * held[:, None, None]).sum(dim=-1)
    view.once(f"{_NAME} {view.layer}", lambda: passed_on(view.pattern, view.valid_queries) @ below)
    return view.mean_over_queries(read, view.spans["answer"] & numbers.any(dim=-1, keepdim=True))


def passed_on(pattern: Tensor, valid_queries: Tensor) -> Tensor:
    """Returns what a layer passes on, `[batch, position, from position]`: half its own state, half what its heads read.

    Args:
        pattern: `[batch, head, query, key]`.
        valid_queries: `[batch, query]`; other positions keep their own state.
    """
    own = torch.eye(pattern.shape[-1], device=pattern.device, dtype=pattern.dtype)
    return torch.where(valid_queries[..., None], (pattern.mean(dim=1) + own) / 2, own)


def _below(view: PatternView) -> Tensor:
    """The rollout up to the layer below, `[batch, position, from position]`."""
    if view.layer == 0:
        length = view.pattern.shape[-1]
        own = torch.eye(length, device=view.pattern.device, dtype=view.pattern.dtype)
        return own.expand(len(view.pattern), length, length)

    def missing() -> Tensor:
        raise ValueError("rollout needs every layer in order, starting with the first")

    below: Tensor = view.once(f"{_NAME} {view.layer - 1}", missing)
    return below
