"""Intervals and a test for problems that come in groups, such as templates; the groups are the sampling units.

Problems from one template tend to succeed or fail together. Treating them as independent overstates the evidence about
other templates. Here the standard error leaves out one group at a time, and the test flips the sign of a group's
differences as a whole.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from kdprobe.errors import KdprobeError
from kdprobe.stats.intervals import LEVEL, NO_INTERVAL, Interval, accuracy_interval, cautious_difference
from kdprobe.stats.permutations.sign_flips import settled, sign_flip_p

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class ClusterTest:
    """Two students on the same problems, which come in groups.

    Attributes:
        n: Number of problems.
        groups: Number of groups.
        difference: Accuracy of a minus accuracy of b, with equal weight for every problem.
        interval: Interval of the difference over groups: leave-one-group-out standard error, Student's t.
        p: Two-sided p of the exact sign-flip test over groups.
        smallest_p: The p if all groups that differ favoured the same side. With G groups it is never below
            2 ** (1 - G): five groups cannot reach 5%.
    """

    n: int
    groups: int
    difference: float
    interval: Interval
    p: float
    smallest_p: float


@dataclass(frozen=True)
class ClusteredMean:
    """A mean over units that come in groups, such as the tokens of several texts: a ratio of sums over groups.

    Attributes:
        value: The sum over all units divided by their number.
        error: Its leave-one-group-out standard error; NaN for a single group.
        interval: Its interval over groups: Student's t; not known for a single group.
    """

    value: float
    error: float
    interval: Interval


class Groups:
    """Which problems belong together.

    Attributes:
        count: Number of groups.
        n: Number of problems.
        sizes: Number of problems in each group, [groups].
        df: Degrees of freedom of the leave-one-group-out variance: groups - 1 if all groups have the same size, fewer
            if a few large ones dominate (Bell and McCaffrey, 2002, with independent problems as the working model).
    """

    def __init__(self, names: Sequence[Hashable]) -> None:
        """Sorts problems by group.

        Args:
            names: Each problem's group.

        Raises:
            KdprobeError: Fewer than two groups.
        """
        codes_by_name: dict[Hashable, int] = {}
        codes = np.array([codes_by_name.setdefault(name, len(codes_by_name)) for name in names], dtype=np.intp)
        self.n, self.count = len(codes), len(codes_by_name)
        if self.count < 2:  # noqa: PLR2004
            raise KdprobeError(
                "All problems belong to one group, so nothing can be said about other groups.",
                "Use problems from several groups, or test without groups.",
            )
        self.sizes = np.bincount(codes)
        self._order = np.argsort(codes, kind="stable")
        self._starts = np.concatenate([[0], np.cumsum(self.sizes)[:-1]])
        self.df = _degrees_of_freedom(self.sizes)

    def sums(self, values: NDArray[Any]) -> Numbers:
        """Sums [..., groups] of values [..., n]."""
        ordered = values if self.count == self.n else values[..., self._order]
        return np.asarray(np.add.reduceat(ordered, self._starts, axis=-1), dtype=float)

    def left_out_variance(self, values: NDArray[Any]) -> Numbers:
        """Variance of the means of values [..., n], leaving out one group at a time (Tukey's jackknife): [...]."""
        means = np.asarray(values.mean(axis=-1), dtype=float)
        return _left_out_variance(self.sums(values), self.sizes, means[..., None])


def clustered_test(
    a: Sequence[bool] | NDArray[Any], b: Sequence[bool] | NDArray[Any], groups: Sequence[Hashable], denominator: int = 1
) -> ClusterTest:
    """Compares two students on problems that come in groups.

    Args:
        a: Whether student `a` solved each problem; or the mean of several answers to it, from 0 to 1.
        b: The same for student `b`, in the same order.
        groups: Each problem's group.
        denominator: A common denominator of all means.

    Raises:
        KdprobeError: Fewer than two groups.
    """
    grouping = Groups(groups)
    differences = np.asarray(a, dtype=float) - np.asarray(b, dtype=float)
    totals = settled(grouping.sums(differences), denominator)
    difference, error = float(differences.mean()), float(np.sqrt(grouping.left_out_variance(differences)))
    centre = difference
    if error == 0:
        centre, error = cautious_difference(*unanimous_counts(difference, grouping.count), grouping.count)
    half = _quantile(grouping.df) * error
    return ClusterTest(
        n=grouping.n,
        groups=grouping.count,
        difference=difference,
        interval=Interval(max(-1.0, centre - half), min(1.0, centre + half)),
        p=sign_flip_p(totals, denominator),
        smallest_p=float(min(1.0, 2.0 ** (1 - np.count_nonzero(totals)))),
    )


def clustered_interval(values: Sequence[float], groups: Sequence[Hashable]) -> Interval:
    """Interval of a mean over problems that come in groups: leave-one-group-out standard error, Student's t.

    Args:
        values: One per problem, such as differences of log p(gold value).
        groups: Each problem's group.

    Raises:
        KdprobeError: Fewer than two groups.
    """
    grouping = Groups(groups)
    return clustered_mean(grouping.sums(np.asarray(values, dtype=float)), grouping.sizes).interval


def clustered_mean(sums: NDArray[Any], sizes: NDArray[Any]) -> ClusteredMean:
    """The mean over all units from the totals of each group, with the same interval.

    Args:
        sums: Sum of each group's values, `[groups]`.
        sizes: Number of units in each group, `[groups]`; at least one each.
    """
    mean = float(sums.sum() / sizes.sum())
    if len(sizes) < 2:  # noqa: PLR2004
        return ClusteredMean(mean, np.nan, NO_INTERVAL)
    error = float(np.sqrt(_left_out_variance(sums, sizes, mean)))
    half = _quantile(_degrees_of_freedom(sizes)) * error
    return ClusteredMean(mean, error, Interval(mean - half, mean + half))


def clustered_accuracy_interval(right: Sequence[bool], groups: Sequence[Hashable]) -> Interval:
    """Wilson's interval with the effective number of independent problems (Korn and Graubard, 1998).

    That number is p (1 - p) over the leave-one-group-out variance, at most n, and reduced for few groups, whose
    variance is estimated poorly. If all problems have the same outcome, it is the number of groups.

    Args:
        right: Whether each problem was solved.
        groups: Each problem's group.

    Raises:
        KdprobeError: Fewer than two groups.
    """
    grouping = Groups(groups)
    return clustered_share_interval(grouping.sums(np.asarray(right, dtype=float)), grouping.sizes)


def clustered_share_interval(sums: NDArray[Any], sizes: NDArray[Any]) -> Interval:
    """The same interval from the totals of each group.

    Args:
        sums: Number of solved problems in each group, `[groups]`; two groups or more.
        sizes: Number of problems in each group, `[groups]`.
    """
    count, n = len(sizes), int(sizes.sum())
    accuracy = float(sums.sum()) / n
    within, variance = accuracy * (1 - accuracy), float(_left_out_variance(sums, sizes, accuracy))
    effective_n = count if within == 0 else min(n, within / variance) if variance else n
    effective_n *= (float(scipy.stats.norm.ppf((1 + LEVEL) / 2)) / _quantile(_degrees_of_freedom(sizes))) ** 2
    return accuracy_interval(accuracy * effective_n, effective_n)


def _left_out_variance(sums: NDArray[Any], sizes: NDArray[Any], mean: NDArray[Any] | float) -> Numbers:
    """Variance of the mean over all problems, from the groups' sums [..., groups] and sizes [groups]: [...]."""
    shifts = (sums - mean * sizes) / (sizes.sum() - sizes)
    return np.asarray((len(sizes) - 1) / len(sizes) * (shifts**2).sum(axis=-1))


def unanimous_counts(difference: float, units: int) -> tuple[float, float]:
    """The numbers of units in favour of a and of b if every unit has the same difference."""
    return max(difference, 0.0) * units, max(-difference, 0.0) * units


def _quantile(df: float) -> float:
    return float(scipy.stats.t.ppf((1 + LEVEL) / 2, df))


def _degrees_of_freedom(sizes: NDArray[np.int64]) -> float:
    """Satterthwaite's for the leave-one-group-out variance of a mean of independent, identically distributed problems.

    That variance is a quadratic form in the groups' sums. With sizes m, their covariance turns it into the matrix
    diag(x) - y y' / n with x = m / (n - m)^2 and y = m / (n - m): its squared trace over the trace of its square.
    """
    n, others = sizes.sum(), sizes.sum() - sizes
    x, y = sizes / others**2, sizes / others
    trace = x.sum() - (y**2).sum() / n
    of_square = (x**2).sum() - 2 * (x * y**2).sum() / n + (y**2).sum() ** 2 / n**2
    return float(trace**2 / of_square)
