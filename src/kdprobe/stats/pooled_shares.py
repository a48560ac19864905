"""Pooled shares, such as correct steps of all steps. Problems are the sampling units, not the items within them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from kdprobe.stats.bootstrap import MANY, bootstrap, normal_interval, percentile_interval
from kdprobe.stats.clustered import clustered_share_interval
from kdprobe.stats.intervals import NO_INTERVAL, Interval

_RESAMPLES = 5_000
_FEW = 10
"""Minimum number of problems with a hit, and with a miss. With fewer, resamples without any make the interval short."""
_KINDS = 2_000
"""Up to this many distinct problems are drawn by their counts."""

Counts = NDArray[np.float64]
"""Items and hits of each problem, `[problem, 2]`."""


def pooled_share(counts: Counts) -> float:
    """Hits divided by items over all problems; NaN if there are no items."""
    return float(_shares(counts.sum(axis=0)))


def pooled_share_interval(counts: Counts) -> Interval:
    """Interval of a pooled share: percentile bootstrap over problems.

    With fewer than ten problems that have a hit, or a miss, it is Wilson's interval with the effective number of
    independent items (Korn and Graubard, 1998). If fewer than two problems have items, there is none.
    """
    holding = counts[counts[:, 0] > 0]
    if len(holding) < 2:  # noqa: PLR2004
        return NO_INTERVAL
    interval = NO_INTERVAL if _is_one_sided(holding) else _bootstrapped(counts)
    return interval if interval.low < interval.high else clustered_share_interval(holding[:, 1], holding[:, 0])


def pooled_share_difference_interval(a: Counts, b: Counts) -> Interval:
    """Interval of the difference between two pooled shares over the same problems: percentile bootstrap over problems.

    If that is not valid for one of the two, the interval is combined from their own intervals (Zou and Donner, 2008) as
    if they were independent: too wide rather than too narrow. If one has no interval, the difference has none.

    Args:
        a: Counts of the first side.
        b: Counts of the second side, for the same problems in the same order.
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
    """Whether hardly any problem has a hit, or hardly any has a miss."""
    held, hits = counts.T
    return int(min((hits > 0).sum(), (hits < held).sum())) < _FEW


def _shares(totals: Counts) -> NDArray[np.float64]:
    """Hits divided by items, `[...]`, from totals `[..., 2]`; NaN if there are no items."""
    held, hits = totals[..., 0], totals[..., 1]
    shares: NDArray[np.float64] = np.divide(hits, held, out=np.full_like(hits, np.nan), where=held > 0)
    return shares


def _bootstrapped(*sides: Counts) -> Interval:
    """The bootstrap interval of one side's share, or of the difference between two, with the same draws for both.

    Resamples in which a side has no items are ignored. With very many problems, equal ones are drawn together, or, if
    most are distinct, the interval is the normal limit of the bootstrap.
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
    """The normal interval: each problem moves a share by its hits minus its expected hits."""
    shares = [pooled_share(side) for side in sides]
    moves = [(side[:, 1] - share * side[:, 0]) / side[:, 0].sum() for side, share in zip(sides, shares, strict=True)]
    first, *others = moves
    estimate = shares[0] - shares[1] if others else shares[0]
    interval = normal_interval(estimate, float(np.sqrt(((first - others[0] if others else first) ** 2).sum())))
    return Interval(max(-1.0 if others else 0.0, interval.low), min(1.0, interval.high))
