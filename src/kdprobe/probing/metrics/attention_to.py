"""How much of a query's attention goes to keys of a certain kind.

Attention is over tokens; what a model gives to a learned sink is `learned_sink`, and not part of any other metric.

Each metric is linear in the pattern: a weight per cell, summed over keys and averaged over the queries that count. All
of them together take one matrix product per layer.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from kdprobe.probing.patterns.view import PatternView

Selection = tuple[Tensor, Tensor]
"""Weights of cells `[batch, query, key]`, and which queries count, `[batch, query]`."""


def sink(view: PatternView) -> Selection:
    """On the first token, over all queries after it."""
    first = view.valid_keys & (view.valid_keys.cumsum(-1) == 1)
    return first[:, None].expand(-1, first.shape[1], -1), view.valid_queries & ~first


def previous_token(view: PatternView) -> Selection:
    """On the token just before, over all queries after the first."""
    before = torch.ones_like(view.valid_keys[0]).diag().roll(-1, dims=-1).tril(-1)
    later = view.valid_queries & (view.valid_keys.cumsum(-1) > 1)
    return before.expand(len(later), -1, -1), later


def mean_distance(view: PatternView) -> Selection:
    """How far back attention goes, relative to the distance to the first token, over all queries after it.

    In tokens it would grow with the prompt, and so would its rounding error.
    """
    position = view.valid_keys.cumsum(-1) - 1
    distance = (position[:, :, None] - position[:, None]).clamp_min(0)
    return distance / position[:, :, None].clamp_min(1), view.valid_queries & (position > 0)


def duplicate_token(view: PatternView) -> Selection:
    """On earlier occurrences of the query's own token, over the queries that have one."""
    same = _earlier_occurrences(view)
    return same, same.any(dim=-1)


def induction(view: PatternView) -> Selection:
    """On tokens that followed earlier occurrences of the query's token, over the queries that have one before them.

    Olsson et al., 2022, arXiv 2209.11895.
    """
    after = _earlier_occurrences(view).roll(1, dims=-1).tril(-1)
    after[..., 0] = False
    return after, after.any(dim=-1)


def answer_to_numbers(view: PatternView) -> Selection:
    """From the answer on the numbers of the question, over the answer's queries."""
    numbers = view.spans["numbers"] & view.valid_keys
    answer = view.spans["answer"] & view.valid_queries & numbers.any(dim=-1, keepdim=True)
    return numbers[:, None].expand(-1, numbers.shape[1], -1), answer


SELECTIONS: dict[str, tuple[Callable[[PatternView], Selection], frozenset[str]]] = {
    "sink": (sink, frozenset()),
    "previous_token": (previous_token, frozenset()),
    "mean_distance": (mean_distance, frozenset()),
    "duplicate_token": (duplicate_token, frozenset({"tokens"})),
    "induction": (induction, frozenset({"tokens"})),
    "answer_to_numbers": (answer_to_numbers, frozenset({"spans"})),
}
"""Names mapped to the selection and what it reads besides the patterns."""


def attended(name: str) -> Callable[[PatternView], Tensor]:
    """The metric of a selection, `[batch, head]`; NaN if no query counts."""

    def metric(view: PatternView) -> Tensor:
        names, weights, counts = view.once("selections", lambda: _selections(view))
        products = view.keep("attended", lambda: view.pattern.flatten(2) @ weights)
        mean: Tensor = products[..., names.index(name)] / counts[:, None, names.index(name)]
        return mean

    return metric


def learned_sink(view: PatternView) -> Tensor:
    """Attention given to a learned sink (GPT-OSS), mean over queries; zero in models without one."""
    if view.sink is None:
        return view.pattern.new_zeros(view.pattern.shape[:2])
    return view.mean_over_queries(view.sink)


def _selections(view: PatternView) -> tuple[list[str], Tensor, Tensor]:
    """The selections that the view supports: names, weights `[batch, query * key, name]`, counts."""
    available = {
        *(["tokens"] if view.tokens is not None else []),
        *(["spans"] if view.spans else []),
    }
    names = [name for name, (_, needs) in SELECTIONS.items() if needs <= available]
    weights, counts = [], []
    for name in names:
        cells, queries = SELECTIONS[name][0](view)
        weights.append((cells * queries[..., None]).flatten(1).to(view.pattern.dtype))
        counts.append(queries.sum(dim=-1))
    return names, torch.stack(weights, dim=-1), torch.stack(counts, dim=-1)


def _earlier_occurrences(view: PatternView) -> Tensor:
    """Which earlier keys contain the query's token, `[batch, query, key]`; never padding."""
    if view.tokens is None:
        raise ValueError("this metric needs tokens, but the view has none")
    same = (view.tokens[:, :, None] == view.tokens[:, None]).tril(-1)
    return same & view.valid_keys[:, None] & view.valid_queries[:, :, None]
