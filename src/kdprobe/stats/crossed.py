"""Two strategies, each trained with several seeds, all students on the same problems.

A strategy's accuracy is averaged over seeds and problems, so both were drawn, and both are resampled: each seed and
each problem (or group of problems) is left out in turn. The seeds' part and the problems' part of the variance overlap
in the chance of one student at one problem, which is taken off once. Student's t has the degrees of freedom that so few
seeds leave. This is the analysis of radiology readers and cases (Dorfman, Berbaum and Metz, 1992; Obuchowski and
Rockette, 1995; Hillis, 2007) with seeds instead of readers, nested in strategies.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from kdprobe.errors import KdprobeError
from kdprobe.stats.clustered import Groups, unanimous_counts
from kdprobe.stats.intervals import LEVEL, Interval, cautious_difference
from kdprobe.stats.least import FEWEST_SEEDS

_ROUNDING = 1e-18
"""A variance below this is none: one student at one of ten million problems would make more."""


@dataclass(frozen=True)
class CrossedTest:
    """Two strategies, over seeds and over problems.

    Attributes:
        n: Problems.
        groups: Groups of problems, n where problems were taken as independent.
        seeds_a: Students of a.
        seeds_b: Students of b, 1 for a single student that no seed made.
        difference: Mean accuracy of a's students minus that of b's.
        interval: Of the difference of the strategies' expected accuracies.
        p: Two-sided.
        df: Degrees of freedom of Student's t.
        spread_a: Standard deviation of the accuracies of a's students, as a share (0.017 is 1.7 points).
        spread_b: The same of b's, 0 for a single student.
    """

    n: int
    groups: int
    seeds_a: int
    seeds_b: int
    difference: float
    interval: Interval
    p: float
    df: float
    spread_a: float
    spread_b: float


@dataclass(frozen=True)
class CrossedEstimate:
    """Differences with what is needed for Student's t, each of shape [...]."""

    difference: NDArray[np.float64]
    error: NDArray[np.float64]
    df: NDArray[np.float64]


def crossed_test(a: NDArray[Any], b: NDArray[Any], groups: Sequence[Hashable] | None = None) -> CrossedTest:
    """Compares two strategies by their students.

    Seeds of a and of b count as independent, also where they have the same number.

    Args:
        a: Whether each of a's students solved each problem, [seeds, n].
        b: The same for b, the same problems in the same order, [seeds, n]; its number of seeds may differ. Or [n] for
            one student that no seed made, such as the untrained one: then the test is of a's strategy against it.
        groups: Each problem's group. Left out, problems are independent.

    Raises:
        KdprobeError: A strategy has fewer than three seeds, or there are fewer than two groups (or problems).
        ValueError: The strategies' students did not answer the same number of problems.
    """
    left, right = np.asarray(a, dtype=float), np.atleast_2d(np.asarray(b, dtype=float))
    seeds_a, seeds_b, n = len(left), len(right), left.shape[1]
    if right.shape[1] != n:
        raise ValueError(f"a has {n} problems, b {right.shape[1]}")
    fewest = seeds_a if np.ndim(b) == 1 else min(seeds_a, seeds_b)
    if fewest < FEWEST_SEEDS:
        raise KdprobeError(
            f"A strategy was trained with {fewest} seed{'s' if fewest != 1 else ''}, too few to speak of strategies.",
            f"Train each with at least {FEWEST_SEEDS} seeds, or compare single students.",
        )
    grouping = Groups(range(n) if groups is None else groups)
    estimate = crossed_estimate(left, right, grouping)
    centre, error, df = float(estimate.difference), float(estimate.error), float(estimate.df)
    if error == 0:
        centre, error = cautious_difference(*unanimous_counts(centre, grouping.count), grouping.count)
    half = float(scipy.stats.t.ppf((1 + LEVEL) / 2, df)) * error
    return CrossedTest(
        n=n,
        groups=grouping.count,
        seeds_a=seeds_a,
        seeds_b=seeds_b,
        difference=float(estimate.difference),
        interval=Interval(max(-1.0, centre - half), min(1.0, centre + half)),
        p=float(2 * scipy.stats.t.sf(abs(centre) / error, df)),
        df=df,
        spread_a=float(np.sqrt(seeds_a * _seed_variance(left))),
        spread_b=float(np.sqrt(seeds_b * _seed_variance(right))),
    )


def crossed_estimate(a: NDArray[Any], b: NDArray[Any], groups: Groups) -> CrossedEstimate:
    """The difference of two strategies, its standard error and degrees of freedom.

    The variance is that of the seeds, which holds one student's chance at one problem already, plus what the problems
    add to it. Where the problems' part is smaller than that by chance, they add nothing. Degrees of freedom are
    Satterthwaite's over what was estimated, at least those of the part that has fewest. Of two unequal numbers of seeds
    the smaller counts for both: otherwise the test rejects too often where the side with few seeds has most spread.

    Args:
        a: Whether each student solved each problem, [..., seeds, n].
        b: The same for b, [..., seeds, n]; with one row, a student that no seed made.
        groups: Of the n problems.
    """
    seeds_df = min(side.shape[-2] for side in (a, b) if side.shape[-2] > 1) - 1
    seeds = [_seed_variance(side) for side in (a, b)]
    differences = a.mean(axis=-2) - b.mean(axis=-2)
    shared = _chance_variance(a, groups) + _chance_variance(b, groups)
    problems = groups.left_out_variance(differences)
    added = np.maximum(0.0, problems - shared)
    variance = np.asarray(seeds[0] + seeds[1] + added)
    variance[variance < _ROUNDING] = 0.0
    spent = np.asarray((seeds[0] ** 2 + seeds[1] ** 2) / seeds_df + np.where(added > 0, problems, 0.0) ** 2 / groups.df)
    # Where nothing varies there is nothing to divide: the largest number of degrees of freedom that seeds can give.
    df = np.divide(variance**2, spent, out=np.full_like(variance, 2.0 * seeds_df), where=variance > 0)
    return CrossedEstimate(
        np.asarray(differences.mean(axis=-1)), np.sqrt(variance), np.maximum(df, min(seeds_df, groups.df))
    )


def _seed_variance(right: NDArray[Any]) -> NDArray[np.float64]:
    """Variance of the mean accuracy of the students in right [..., seeds, n], these problems given: [...]."""
    seeds, accuracies = right.shape[-2], right.mean(axis=-1)
    return np.asarray(accuracies.var(axis=-1, ddof=1) / seeds) if seeds > 1 else np.zeros(right.shape[:-2])


def _chance_variance(right: NDArray[Any], groups: Groups) -> NDArray[np.float64]:
    """What the chance of one student at one problem gives to the variance of the strategy's accuracy: [...].

    The leave-one-group-out variance of the residuals of right [..., seeds, n] after its students' and its problems'
    means are taken off. Nothing for a single student: its luck with a problem comes back with the problem.
    """
    seeds = right.shape[-2]
    if seeds == 1:
        return np.zeros(right.shape[:-2])
    residuals = right - right.mean(axis=-1, keepdims=True) - right.mean(axis=-2, keepdims=True)
    return np.asarray(groups.left_out_variance(residuals).sum(axis=-1) / (seeds * (seeds - 1)))
