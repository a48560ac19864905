"""Spearman's rank correlation within groups of problems, such as templates, with its interval over groups.

Problems of one template resemble each other in everything, so a correlation over all problems may only say that
templates differ. Here values are ranked within each group, and the groups' sums of products are pooled. Groups are the
sampling units. Without groups, all problems are ranked together, and problems are the units.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import NDArray

from kdprobe.stats.intervals import LEVEL, NO_INTERVAL, Interval

Array = NDArray[np.float64]
_FEWEST_PROBLEMS = 6
_LARGEST = 1 - 1e-12
"""Correlations are kept below 1, whose Fisher transform is infinite."""


@dataclass(frozen=True)
class RankCorrelation:
    """A rank correlation over problems.

    Attributes:
        value: Spearman's correlation, pooled over groups; NaN if one side never varies within a group.
        interval: Its interval; not known for fewer than six problems or two groups, or if leaving out any group (or
            problem) changes nothing.
        p: Two-sided p of no correlation, from the same standard error; NaN without an interval.
        problems: Number of problems that count. A problem alone in its group does not.
        groups: Number of their groups, or 0 if problems are the units.
    """

    value: float
    interval: Interval
    p: float
    problems: int
    groups: int


def stratified_spearman(a: Array, b: Array, groups: Sequence[Hashable] | None = None) -> RankCorrelation:
    """Correlates two values of each problem within groups.

    The interval is Student's t on Fisher's transform, with the leave-one-out standard error over groups; over problems,
    with that of Bonett and Wright (2000) if it is larger, because leaving out one of a few problems underestimates it.
    If `b` has a row per seed, their mean is correlated, seeds are left out as well, and both variances are added;
    degrees of freedom follow Satterthwaite.

    Args:
        a: One value per problem, `[problem]`.
        b: Another, `[problem]` or `[seed, problem]`.
        groups: Each problem's group; by default, problems are independent.
    """
    seeds = np.atleast_2d(b)
    known: dict[Hashable, int] = {}
    codes = np.array([known.setdefault(name, len(known)) for name in groups or [None] * len(a)], dtype=np.int64)
    kept = np.bincount(codes)[codes] > 1
    a, seeds, codes = a[kept], seeds[:, kept], np.unique(codes[kept], return_inverse=True)[1]
    problems, count = len(a), len(set(codes.tolist()))
    grouped = groups is not None and count > 1
    units = codes if grouped else np.arange(problems)
    ranked, others = _ranks(a, codes), _ranks(seeds.mean(axis=0), codes)
    value, left_out = _correlations(ranked, others, units)
    found = problems, count if grouped else 0
    if problems < _FEWEST_PROBLEMS or np.isnan(value) or not np.isfinite(left_out).all():
        return RankCorrelation(value, NO_INTERVAL, np.nan, *found)
    z = float(np.arctanh(np.clip(value, -_LARGEST, _LARGEST)))
    parts = [_jackknife(z, left_out)]
    if not grouped:
        parts = [(max(parts[0][0], (1 + value**2 / 2) / (problems - 3)), problems - 1)]
    if len(seeds) > 1:
        without = [_ranks(np.delete(seeds, seed, axis=0).mean(axis=0), codes) for seed in range(len(seeds))]
        parts.append(_jackknife(z, np.array([_pooled(ranked, rest) for rest in without])))
    variance = sum(part for part, _ in parts)
    if variance <= 0:
        return RankCorrelation(value, NO_INTERVAL, np.nan, *found)
    df = variance**2 / sum(part**2 / freedom for part, freedom in parts)
    error = np.sqrt(variance)
    low, high = np.tanh(z + scipy.stats.t.ppf((1 + LEVEL) / 2, df) * error * np.array([-1, 1]))
    p = float(2 * scipy.stats.t.sf(abs(z) / error, df))
    return RankCorrelation(value, Interval(float(low), float(high)), p, *found)


def _ranks(values: Array, codes: NDArray[np.int64]) -> Array:
    """Ranks within each group around their mean, scaled by the group's size so that no group is favoured for it."""
    ranks = np.zeros(len(values))
    for code in np.unique(codes):
        inside = codes == code
        count = int(inside.sum())
        ranks[inside] = (scipy.stats.rankdata(values[inside]) - (count + 1) / 2) / (count + 1)
    return ranks


def _pooled(a: Array, b: Array) -> float:
    size = np.sqrt((a**2).sum() * (b**2).sum())
    return float((a * b).sum() / size) if size else np.nan


def _correlations(a: Array, b: Array, units: NDArray[np.int64]) -> tuple[float, Array]:
    """The pooled correlation, and those without each unit, `[unit]`."""
    products, of_a, of_b = (np.bincount(units, weights) for weights in (a * b, a * a, b * b))
    sizes = np.sqrt((of_a.sum() - of_a) * (of_b.sum() - of_b))
    left_out = np.divide(products.sum() - products, sizes, out=np.full_like(sizes, np.nan), where=sizes > 0)
    return _pooled(a, b), left_out


def _jackknife(z: float, left_out: Array) -> tuple[float, int]:
    """The leave-one-out variance of a Fisher transform, and its degrees of freedom."""
    count = len(left_out)
    shifts = np.arctanh(np.clip(left_out, -_LARGEST, _LARGEST)) - z
    return float((count - 1) / count * (shifts**2).sum()), count - 1
