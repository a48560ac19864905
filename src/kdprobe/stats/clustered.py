"""Problems that come in groups, such as templates: intervals and a test that count groups, not problems.

Problems from one template succeed or fail together. Taken as independent, they promise more than they know about other
templates. Here the groups are what was drawn: the standard error leaves out one group at a time, and the test flips the
sign of a group's differences as a whole.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from kdprobe.errors import KdprobeError
from kdprobe.stats.intervals import LEVEL, Interval, accuracy_interval, cautious_difference

Numbers = NDArray[np.float64]
_MOST_STEPS = 10**9
"""Additions that an exact test may take: about a second."""


@dataclass(frozen=True)
class ClusterTest:
    """Two students on the same problems, which come in groups.

    Attributes:
        n: Problems.
        groups: Groups.
        difference: Accuracy of a minus accuracy of b, every problem counting the same.
        interval: Of the difference, over groups: leave-one-group-out standard error, Student's t.
        p: Exact sign-flip test over groups, two-sided.
        smallest_p: What p would be if all groups that differ spoke for the same side. With G groups never below
            2 ** (1 - G): five groups cannot reach 5 %.
    """

    n: int
    groups: int
    difference: float
    interval: Interval
    p: float
    smallest_p: float


class Groups:
    """Which problems belong together.

    Attributes:
        count: Groups.
        n: Problems.
        sizes: Problems of each group, [groups].
        df: Degrees of freedom of the leave-one-group-out variance: groups - 1 where all are of one size, fewer where
            few large ones carry the weight (Bell and McCaffrey, 2002, problems independent as the working model).
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
                "All problems are of one group, so nothing can be said about other groups.",
                "Take problems from several groups, or test without groups.",
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
        """Variance of the means of values [..., n], by leaving out one group at a time (Tukey's jackknife): [...]."""
        means = np.asarray(values.mean(axis=-1), dtype=float)
        return _left_out_variance(self.sums(values), self.sizes, means[..., None])


def clustered_test(
    a: Sequence[bool] | NDArray[np.bool_], b: Sequence[bool] | NDArray[np.bool_], groups: Sequence[Hashable]
) -> ClusterTest:
    """Compares two students on problems that come in groups.

    Args:
        a: Whether a solved each problem.
        b: The same for b, in the same order.
        groups: Each problem's group.

    Raises:
        KdprobeError: Fewer than two groups.
    """
    grouping = Groups(groups)
    differences = np.asarray(a, dtype=int) - np.asarray(b, dtype=int)
    totals = np.rint(grouping.sums(differences)).astype(int)
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
        p=sign_flip_p(totals),
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
    grouping, measured = Groups(groups), np.asarray(values, dtype=float)
    half = _quantile(grouping.df) * float(np.sqrt(grouping.left_out_variance(measured)))
    return Interval(float(measured.mean()) - half, float(measured.mean()) + half)


def clustered_accuracy_interval(right: Sequence[bool], groups: Sequence[Hashable]) -> Interval:
    """Wilson's interval with as many independent problems as the grouped ones are worth (Korn and Graubard, 1998).

    That number is p (1 - p) over the leave-one-group-out variance, at most n, and made smaller where few groups know
    their own variance badly. If all problems came out the same it is the number of groups.

    Args:
        right: Whether each problem was solved.
        groups: Each problem's group.

    Raises:
        KdprobeError: Fewer than two groups.
    """
    grouping = Groups(groups)
    return clustered_share_interval(grouping.sums(np.asarray(right, dtype=float)), grouping.sizes)


def clustered_share_interval(sums: NDArray[Any], sizes: NDArray[Any]) -> Interval:
    """The same from what each group holds.

    Args:
        sums: Solved problems of each group, `[groups]`, of two groups or more.
        sizes: Its problems, `[groups]`.
    """
    count, n = len(sizes), int(sizes.sum())
    accuracy = float(sums.sum()) / n
    within, variance = accuracy * (1 - accuracy), float(_left_out_variance(sums, sizes, accuracy))
    effective_n = count if within == 0 else min(n, within / variance) if variance else n
    effective_n *= (float(scipy.stats.norm.ppf((1 + LEVEL) / 2)) / _quantile(_degrees_of_freedom(sizes))) ** 2
    return accuracy_interval(accuracy * effective_n, effective_n)


def sign_flip_p(totals: NDArray[np.int64]) -> float:
    """Two-sided p of a sum of whole numbers when each could as well have had the other sign.

    Exact: the distribution of the sum is built up group by group, which covers all 2 ** G signs. With one problem in
    each group it is McNemar's exact test. Of tens of thousands of groups that differ, whose sum has a normal
    distribution, it is taken from that.

    Args:
        totals: Problems that only a solved minus problems that only b solved, for each group, [groups].
    """
    steps = np.abs(totals[totals != 0])
    if len(steps) * int(steps.sum()) > _MOST_STEPS:
        return float(2 * scipy.stats.norm.sf(abs(int(totals.sum())) / np.sqrt((steps.astype(float) ** 2).sum())))
    probabilities = np.ones(1)
    for step in steps:
        convolved = np.zeros(len(probabilities) + 2 * step)
        convolved[: len(probabilities)] += probabilities / 2
        convolved[2 * step :] += probabilities / 2
        probabilities = convolved
    sums = np.abs(np.arange(len(probabilities)) - len(probabilities) // 2)
    return float(min(1.0, probabilities[sums >= abs(totals.sum())].sum()))


def _left_out_variance(sums: NDArray[Any], sizes: NDArray[Any], mean: NDArray[Any] | float) -> Numbers:
    """Variance of the mean of all problems, from the sums [..., groups] and sizes [groups] of their groups: [...]."""
    shifts = (sums - mean * sizes) / (sizes.sum() - sizes)
    return np.asarray((len(sizes) - 1) / len(sizes) * (shifts**2).sum(axis=-1))


def unanimous_counts(difference: float, units: int) -> tuple[float, float]:
    """The counts of units in favour of a and of b when every unit has the same difference."""
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
