"""Two strategies, each trained with several seeds, all students on the same problems.

A strategy's accuracy is averaged over seeds and problems. Both are random samples, and both are resampled: each seed
and each problem (or group of problems) is left out in turn. The variance over seeds and the variance over problems both
contain the chance of one student on one problem, which is subtracted once. Student's t has the few degrees of freedom
that so few seeds allow. This is the analysis of radiology readers and cases (Dorfman, Berbaum and Metz, 1992;
Obuchowski and Rockette, 1995; Hillis, 2007) with seeds instead of readers, nested in strategies.
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
from kdprobe.stats.cochran import critical_value, critical_values, upper_tail
from kdprobe.stats.intervals import LEVEL, Interval, cautious_difference
from kdprobe.stats.least import FEWEST_SEEDS

_ROUNDING = 1e-18
"""A variance below this counts as zero; one student on one of ten million problems would contribute more."""


@dataclass(frozen=True)
class CrossedTest:
    """A test of two strategies over seeds and problems.

    Attributes:
        n: Number of problems.
        groups: Number of groups of problems; n if problems were treated as independent.
        seeds_a: Number of students of a.
        seeds_b: Number of students of b; 1 for a single student that does not depend on a seed.
        difference: Mean accuracy of a's students minus that of b's.
        interval: Interval of the difference between the strategies' expected accuracies.
        p: Two-sided p-value.
        df: Degrees of freedom of Student's t (Satterthwaite); against a single student, Cochran's critical values are
            used in its place.
        spread_a: Standard deviation of the accuracies of a's students, as a share (0.017 is 1.7 points).
        spread_b: The same for b's students; 0 for a single student.
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
    """Differences between two strategies, [...].

    Attributes:
        difference: The differences, [...].
        error: Their standard errors, [...].
        df: Degrees of freedom of Student's t (Satterthwaite), [...].
        seeds_share: The share of the seeds in the variance, [...].
        cochran_df: If only one side has seeds, degrees of freedom of the variance over seeds and of that over
            problems, for Cochran's critical values: so few seeds often give a variance that is far too small by chance.
            Otherwise `None`.
    """

    difference: NDArray[np.float64]
    error: NDArray[np.float64]
    df: NDArray[np.float64]
    seeds_share: NDArray[np.float64]
    cochran_df: tuple[float, float] | None


def crossed_test(a: NDArray[Any], b: NDArray[Any], groups: Sequence[Hashable] | None = None) -> CrossedTest:
    """Compares two strategies by their students.

    Seeds of `a` and `b` count as independent, even if they have the same value.

    Args:
        a: Whether each of strategy `a`'s students solved each problem, [seeds, n].
        b: The same for strategy `b`, with the same problems in the same order, [seeds, n]; the number of seeds may
            differ. Or [n] for one student that does not depend on a seed, such as the untrained one, to test strategy
            `a` against it.
        groups: Each problem's group. By default, problems are independent.

    Raises:
        KdprobeError: A strategy has fewer than three seeds, or there are fewer than two groups (or problems).
        ValueError: The students of the two strategies answered different numbers of problems.
    """
    left, right = np.asarray(a, dtype=float), np.atleast_2d(np.asarray(b, dtype=float))
    seeds_a, seeds_b, n = len(left), len(right), left.shape[1]
    if right.shape[1] != n:
        raise ValueError(f"a has {n} problems, but b has {right.shape[1]}")
    fewest = seeds_a if np.ndim(b) == 1 else min(seeds_a, seeds_b)
    if fewest < FEWEST_SEEDS:
        raise KdprobeError(
            f"One strategy has only {fewest} seed{'s' if fewest != 1 else ''}, too few to compare strategies.",
            f"Train students with at least {FEWEST_SEEDS} seeds per strategy, or compare single students.",
        )
    grouping = Groups(range(n) if groups is None else groups)
    estimate = crossed_estimate(left, right, grouping)
    centre, error = float(estimate.difference), float(estimate.error)
    if error == 0:
        centre, error = cautious_difference(*unanimous_counts(centre, grouping.count), grouping.count)
    half = half_width(estimate, error)
    return CrossedTest(
        n=n,
        groups=grouping.count,
        seeds_a=seeds_a,
        seeds_b=seeds_b,
        difference=float(estimate.difference),
        interval=Interval(max(-1.0, centre - half), min(1.0, centre + half)),
        p=_two_sided_p(estimate, abs(centre) / error),
        df=float(estimate.df),
        spread_a=float(np.sqrt(seeds_a * _seed_variance(left))),
        spread_b=float(np.sqrt(seeds_b * _seed_variance(right))),
    )


def crossed_estimate(a: NDArray[Any], b: NDArray[Any], groups: Groups) -> CrossedEstimate:
    """The difference between two strategies, its standard error and degrees of freedom.

    The variance is that over seeds, which already contains the chance of one student on one problem, plus what the
    problems add. If by chance the variance over problems is smaller than the shared part, they add nothing. Degrees of
    freedom follow Satterthwaite, and are at least those of the component with the fewest. If the numbers of seeds
    differ, the smaller one counts for both: otherwise the test rejects too often if the side with fewer seeds has the
    larger spread.

    Args:
        a: Whether each student solved each problem, [..., seeds, n].
        b: The same for b, [..., seeds, n]; one row for a student that does not depend on a seed.
        groups: The groups of the n problems.
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
    # Without any variance the ratio is undefined: use the largest number of degrees of freedom that seeds can give.
    df = np.divide(variance**2, spent, out=np.full_like(variance, 2.0 * seeds_df), where=variance > 0)
    seeds_share = np.divide(seeds[0] + seeds[1], variance, out=np.zeros_like(variance), where=variance > 0)
    return CrossedEstimate(
        difference=np.asarray(differences.mean(axis=-1)),
        error=np.sqrt(variance),
        df=np.maximum(df, min(seeds_df, groups.df)),
        seeds_share=seeds_share,
        cochran_df=(seeds_df, groups.df) if min(a.shape[-2], b.shape[-2]) == 1 else None,
    )


def half_width(estimate: CrossedEstimate, error: float) -> float:
    """Half the width of the 95% interval of a single difference.

    Args:
        estimate: The difference.
        error: Its standard error, or one that takes its place.
    """
    if estimate.cochran_df is None:
        return float(scipy.stats.t.ppf((1 + LEVEL) / 2, float(estimate.df))) * error
    return critical_value((1 - LEVEL) / 2, float(estimate.seeds_share), *estimate.cochran_df) * error


def half_widths(estimate: CrossedEstimate) -> NDArray[np.float64]:
    """Half the widths of the 95% intervals of many differences, `[...]`."""
    if estimate.cochran_df is None:
        return np.asarray(scipy.stats.t.ppf((1 + LEVEL) / 2, estimate.df) * estimate.error)
    return critical_values((1 - LEVEL) / 2, estimate.seeds_share, *estimate.cochran_df) * estimate.error


def _two_sided_p(estimate: CrossedEstimate, t: float) -> float:
    """The p-value of a single difference, from its absolute value in standard errors."""
    if estimate.cochran_df is None:
        return float(2 * scipy.stats.t.sf(t, float(estimate.df)))
    return min(1.0, 2 * upper_tail(t, float(estimate.seeds_share), *estimate.cochran_df))


def _seed_variance(right: NDArray[Any]) -> NDArray[np.float64]:
    """Variance of the mean accuracy of the students in right [..., seeds, n], given these problems: [...]."""
    seeds, accuracies = right.shape[-2], right.mean(axis=-1)
    return np.asarray(accuracies.var(axis=-1, ddof=1) / seeds) if seeds > 1 else np.zeros(right.shape[:-2])


def _chance_variance(right: NDArray[Any], groups: Groups) -> NDArray[np.float64]:
    """The contribution of chance of one student on one problem to the variance of the strategy's accuracy: [...].

    The leave-one-group-out variance of the residuals of right [..., seeds, n] after subtracting its students' and its
    problems' means. Zero for a single student, whose luck with a problem is part of the variance over problems.
    """
    seeds = right.shape[-2]
    if seeds == 1:
        return np.zeros(right.shape[:-2])
    residuals = right - right.mean(axis=-1, keepdims=True) - right.mean(axis=-2, keepdims=True)
    return np.asarray(groups.left_out_variance(residuals).sum(axis=-1) / (seeds * (seeds - 1)))
