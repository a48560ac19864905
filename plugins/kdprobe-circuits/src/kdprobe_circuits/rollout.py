"""The head metric `rollout_to_numbers`: how much of what a head reads comes, in the end, from the question's numbers.

A position of a late layer holds what earlier layers moved there, so attention to it is attention to where that came
from. Attention rollout (Abnar & Zuidema, "Quantifying Attention Flow in Transformers" (2020), arXiv 2005.00928)
follows it down: every layer passes on half of a position's own state (the residual stream) and half of what its heads
read, heads weighted alike. Here a head's own pattern is applied to the rollout of all layers below it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from kdprobe.probing import PatternView

_NAME = "rollout of kdprobe-circuits, up to layer"


def build(_options: None) -> Callable[[PatternView], Tensor]:
    """The metric."""
    return rollout_to_numbers


def rollout_to_numbers(view: PatternView) -> Tensor:
    """Mean over the answer's queries, `[batch, head]`; NaN where the question has no numbers."""
    below = _below(view)
    numbers = view.spans["numbers"] & view.valid_keys
    # What each position of the layer below has from the numbers, `[batch, position]`; then what a head reads of that.
    held = (below * numbers[:, None]).sum(dim=-1)
    read = (view.pattern * held[:, None, None]).sum(dim=-1)
    view.once(f"{_NAME} {view.layer}", lambda: passed_on(view.pattern, view.valid_queries) @ below)
    return view.mean_over_queries(read, view.spans["answer"] & numbers.any(dim=-1, keepdim=True))


def passed_on(pattern: Tensor, valid_queries: Tensor) -> Tensor:
    """What a layer passes on, `[batch, position, from position]`: half its own, half what its heads read.

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
        raise ValueError("rollout needs every layer from the first one on, in order")

    below: Tensor = view.once(f"{_NAME} {view.layer - 1}", missing)
    return below
