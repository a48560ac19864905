"""What was measured of each strategy, and its means over problems."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from kdprobe.probing.priming.parts import POSITIONS, RESPONSE
from kdprobe.probing.priming.reading import TokenChanges
from kdprobe.stats.bootstrap import TOO_FEW, bootstrap, percentile_interval
from kdprobe.stats.clustered import ClusteredMean, clustered_mean
from kdprobe.stats.intervals import NO_INTERVAL, Interval

Array = NDArray[np.float64]
_TOP = 0.1
"""The share of tokens whose part in the divergence is reported."""
_CELLS = 2**22
"""Weights of tokens at a time, so that memory does not grow with the number of resamples."""


@dataclass(frozen=True)
class ReadResponse:
    """A response as the teacher read it after both prompts.

    Attributes:
        problem: The problem's id.
        ids: Its token ids.
        parts: The part of each token, `[token]`.
        changes: What priming changes at each token.
    """

    problem: str
    ids: tuple[int, ...]
    parts: NDArray[np.str_]
    changes: TokenChanges

    def within(self, cell: str) -> NDArray[np.bool_]:
        """Which tokens belong to a part, to a range of positions, or to the whole response, `[token]`."""
        if cell == RESPONSE:
            return np.ones(len(self.ids), dtype=bool)
        for first, last in POSITIONS:
            if cell == position_name(first, last):
                positions = np.arange(1, len(self.ids) + 1)
                return (positions >= first) & (positions <= (last or len(self.ids)))
        return np.asarray(self.parts == cell)

    @property
    def same_greedy(self) -> bool:
        """Whether the most probable token is the same after both prompts at every token."""
        return bool((self.changes.greedy[:, 0] == self.changes.greedy[:, 1]).all())


@dataclass(frozen=True)
class PrimingMap:
    """What one strategy's priming changes.

    Attributes:
        strategy: Its name.
        unprimed: Whether the teacher reads the bare question.
        responses: Its responses.
    """

    strategy: str
    unprimed: bool
    responses: Sequence[ReadResponse]

    @cached_property
    def alike(self) -> bool:
        """Whether nothing changes at any token."""
        return not any(each.changes.kl.any() for each in self.responses)

    @cached_property
    def kl(self) -> Array:
        """The divergence at every token of all responses, `[token]`."""
        return np.concatenate([each.changes.kl for each in self.responses])

    def mean(self, cell: str) -> tuple[ClusteredMean, float, NDArray[np.int64]] | None:
        """The mean per token with its interval over problems, the sum, and the tokens of each problem.

        `None` without such tokens. Tokens of one problem are not independent, so problems are left out as a whole.
        """
        chosen = [each.within(cell) for each in self.responses]
        sizes = np.array([rows.sum() for rows in chosen], dtype=np.int64)
        sums = np.array([each.changes.kl[rows].sum() for each, rows in zip(self.responses, chosen, strict=True)])
        if not sizes.any():
            return None
        return clustered_mean(sums[sizes > 0], sizes[sizes > 0]), float(sums.sum()), sizes[sizes > 0]

    @cached_property
    def top_share(self) -> tuple[float, Interval]:
        """The share of the divergence on the 10% of tokens with the largest, and its interval over problems.

        NaN if nothing changes.
        """
        if self.alike:
            return np.nan, NO_INTERVAL
        owners = np.repeat(np.arange(len(self.responses)), [len(each.ids) for each in self.responses])
        order = np.argsort(-self.kl, kind="stable")
        ordered, owner = self.kl[order], owners[order]

        def share(counts: Array) -> Array:
            chunks = np.array_split(counts, 1 + len(counts) * len(owner) // _CELLS)
            return np.concatenate([_top_shares(ordered, chunk[:, owner]) for chunk in chunks])

        value = float(share(np.ones((1, len(self.responses))))[0])
        if len(self.responses) < TOO_FEW:
            return value, NO_INTERVAL
        return value, percentile_interval(bootstrap(share, len(self.responses)))


def position_name(first: int, last: int | None) -> str:
    """A range of positions, such as `2-4`, or `257+` without an end."""
    if last is None:
        return f"{first}+"
    return str(first) if first == last else f"{first}-{last}"


def _top_shares(ordered: Array, weights: Array) -> Array:
    """The share of a weighted sum in the first tenth of the weight, `[resample]`.

    Args:
        ordered: Values, largest first, `[token]`.
        weights: How often each is counted, `[resample, token]`.
    """
    before = weights.cumsum(axis=1) - weights
    limit = _TOP * weights.sum(axis=1, keepdims=True)
    top = np.clip(limit - before, 0, weights)
    sums = weights @ ordered
    return np.asarray(np.divide(top @ ordered, sums, out=np.full(len(sums), np.nan), where=sums > 0))
