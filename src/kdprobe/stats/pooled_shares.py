"""Shares of what problems hold, pooled: right steps of all steps, for one. Problems are drawn, not what they hold."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kdprobe.stats.bootstrap import MANY, bootstrap, normal_interval, percentile_interval
from kdprobe.stats.clustered import clustered_share_interval
from kdprobe.stats.intervals import NO_INTERVAL, Interval

_RESAMPLES = 5_000
_FEW = 10
"""Problems that hold a hit, or a miss. With fewer, resamples without any make the bootstrap's interval too short."""
_KINDS = 2_000
"""Different problems that are quick to draw by their number."""

Counts = NDArray[np.float64]
"""What each problem holds and how much of it hits, `[problem, 2]`."""


def pooled_share(counts: Counts) -> float:
    """Hits of all that problems hold; not a number where they hold nothing."""
    return float(_shares(counts.sum(axis=0)))


def pooled_share_interval(counts: Counts) -> Interval:
    """Interval of a pooled share: percentile bootstrap over problems.

    With fewer than ten problems that hold a hit, or a miss, it is Wilson's interval with as many independent values as
    the clustered ones are worth (Korn and Graubard, 1998). Where fewer than two problems hold anything there is none.
    """
    holding = counts[counts[:, 0] > 0]
    if len(holding) < 2:  # noqa: PLR2004
        return NO_INTERVAL
    interval = NO_INTERVAL if _is_one_sided(holding) else _bootstrapped(counts)
    return interval if interval.low < interval.high else clustered_share_interval(holding[:, 1], holding[:, 0])


def pooled_share_difference_interval(a: Counts, b: Counts) -> Interval:
    """Interval of the difference of two pooled shares over the same problems: percentile bootstrap over problems.

    Where that is not valid for one of the two, it is put together from their own intervals (Zou and Donner, 2008), as
    if they were independent: too wide rather than too narrow. Where one has no interval, the difference has none.

    Args:
        a: One side's counts.
        b: The other's, of the same problems in the same order.
    """
    intervals = pooled_share_interval(a), pooled_share_interval(b)
    if not all(interval.known for interval in intervals):
        return NO_INTERVAL
    if not any(_is_one_sided(side[side[:, 0] > 0]) for side in (a, b)):
        interval = _bootstrapped(a, b)
        if interval.low < interval.high or np.array_equal(a, b):
            return interval
    shares = pooled_share(a), pooled_share(b)
    below = np.hypot(shares[0] - intervals[0].low, intervals[1].high - shares[1])
    above = np.hypot(intervals[0].high - shares[0], shares[1] - intervals[1].low)
    difference = shares[0] - shares[1]
    return Interval(float(max(-1.0, difference - below)), float(min(1.0, difference + above)))


def _is_one_sided(counts: Counts) -> bool:
    """Whether hardly any problem holds a hit, or hardly any a miss."""
    held, hits = counts.T
    return int(min((hits > 0).sum(), (hits < held).sum())) < _FEW


def _shares(totals: Counts) -> NDArray[np.float64]:
    """Hits of all, `[...]`, from totals `[..., 2]`; not a number where there is nothing."""
    held, hits = totals[..., 0], totals[..., 1]
    shares: NDArray[np.float64] = np.divide(hits, held, out=np.full_like(hits, np.nan), where=held > 0)
    return shares


def _bootstrapped(*sides: Counts) -> Interval:
    """Of the share of one side, or of the difference of two; the same problems are drawn for both.

    Resamples in which a side holds nothing have no share and are left out. Of very many problems those that are alike
    are drawn together, or, where most are different, the interval is the one that the bootstrap tends to.
    """
    units: int | NDArray[np.int64] = len(sides[0])
    if len(sides[0]) > MANY:
        kinds, units = np.unique(np.hstack(sides), axis=0, return_counts=True)
        if len(kinds) > _KINDS:
            return _normal(sides)
        sides = tuple(kinds[:, start : start + 2] for start in range(0, kinds.shape[1], 2))

    def share(drawn: NDArray[np.float64]) -> NDArray[np.float64]:
        first, *others = (_shares(drawn @ side) for side in sides)
        return first - others[0] if others else first

    return percentile_interval(bootstrap(share, units, resamples=_RESAMPLES))


def _normal(sides: tuple[Counts, ...]) -> Interval:
    """The same by the normal distribution: a share moves with each problem by its hits beyond what it should hold."""
    shares = [pooled_share(side) for side in sides]
    moves = [(side[:, 1] - share * side[:, 0]) / side[:, 0].sum() for side, share in zip(sides, shares, strict=True)]
    first, *others = moves
    estimate = shares[0] - shares[1] if others else shares[0]
    return normal_interval(estimate, float(np.sqrt(((first - others[0] if others else first) ** 2).sum())))
