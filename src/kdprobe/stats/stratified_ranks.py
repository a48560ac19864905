"""Spearman's rank correlation within groups of problems, such as templates, with its interval over groups.

Problems of one template resemble each other in everything, so a correlation over all problems may only say that
templates differ. Here values are ranked within each group, and the groups' sums of products are pooled. Groups are the
sampling units. Without groups, all problems are ranked together, and problems are the units.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy
from numpy.typing import NDArray

from kdprobe.stats.intervals import LEVEL, NO_INTERVAL, Interval

Array = NDArray[np.float64]
Missing = Literal["constant", "few_problems", "few_templates", "one_varies", "no_spread"]
"""Why a correlation or its interval is missing.

One side never varies; too few problems; a single group with several; without one group (or problem), one side never
varies; or leaving out any group changes nothing.
"""
FEWEST_PROBLEMS = 6
"""The fewest problems for an interval."""
_FEWEST = 2
_LARGEST = 1 - 1e-12
"""Correlations are kept below 1, whose Fisher transform is infinite."""


@dataclass(frozen=True)
class RankCorrelation:
    """A rank correlation over problems.

    Attributes:
        value: Spearman's correlation, pooled over groups; NaN if one side never varies within a group.
        interval: Its interval, if it is known.
        p: Two-sided p of no correlation, from the same standard error; NaN without an interval.
        problems: Number of problems that count. A problem that is the only one of its group does not.
        groups: Number of their groups, or 0 if problems are the units.
        missing: Why there is no interval; `None` if there is one.
    """

    value: float
    interval: Interval
    p: float
    problems: int
    groups: int
    missing: Missing | None = None


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
    grouped = groups is not None
    kept = np.bincount(codes)[codes] > 1 if grouped else np.ones(len(a), dtype=bool)
    a, seeds, codes = a[kept], seeds[:, kept], np.unique(codes[kept], return_inverse=True)[1]
    problems, count = len(a), len(set(codes.tolist()))
    units = codes if grouped else np.arange(problems)
    ranked, others = _ranks(a, codes), _ranks(seeds.mean(axis=0), codes)
    value, left_out = _correlations(ranked, others, units)
    if not grouped and (_one_differs(ranked) or _one_differs(others)):
        left_out[:] = np.nan
    found = problems, count if grouped else 0
    if missing := _missing(value, left_out, *found, grouped=grouped):
        return RankCorrelation(value, NO_INTERVAL, np.nan, *found, missing)
    z = float(np.arctanh(np.clip(value, -_LARGEST, _LARGEST)))
    parts = [_jackknife(z, left_out)]
    if not grouped:
        parts = [(max(parts[0][0], (1 + value**2 / 2) / (problems - 3)), problems - 1)]
    if len(seeds) > 1:
        without = [_ranks(np.delete(seeds, seed, axis=0).mean(axis=0), codes) for seed in range(len(seeds))]
        parts.append(_jackknife(z, np.array([_pooled(ranked, rest) for rest in without])))
    variance = sum(part for part, _ in parts)
    if variance <= 0:
        return RankCorrelation(value, NO_INTERVAL, np.nan, *found, "no_spread")
    df = variance**2 / sum(part**2 / freedom for part, freedom in parts)
    error = np.sqrt(variance)
    low, high = np.tanh(z + scipy.stats.t.ppf((1 + LEVEL) / 2, df) * error * np.array([-1, 1]))
    p = float(2 * scipy.stats.t.sf(abs(z) / error, df))
    return RankCorrelation(value, Interval(float(low), float(high)), p, *found)


def _missing(value: float, left_out: Array, problems: int, groups: int, *, grouped: bool) -> Missing | None:
    if problems < _FEWEST:
        return "few_problems"
    if np.isnan(value):
        return "constant"
    if grouped and groups < _FEWEST:
        return "few_templates"
    if problems < FEWEST_PROBLEMS:
        return "few_problems"
    return None if np.isfinite(left_out).all() else "one_varies"


def _ranks(values: Array, codes: NDArray[np.int64]) -> Array:
    """Ranks within each group around their mean, scaled by the group's size so that no group is favoured for it."""
    ranks = np.zeros(len(values))
    for code in np.unique(codes):
        inside = codes == code
        count = int(inside.sum())
        ranks[inside] = (scipy.stats.rankdata(values[inside]) - (count + 1) / 2) / (count + 1)
    return ranks


def _one_differs(ranks: Array) -> bool:
    """Whether all values but one are the same."""
    counts = np.unique(ranks, return_counts=True)[1]
    return len(counts) == _FEWEST and bool(counts.min() == 1)


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
