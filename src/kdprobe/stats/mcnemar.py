"""Two students on the same problems: McNemar's exact test, and an interval of the difference in accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import NDArray

from kdprobe.stats.bootstrap import mean_interval
from kdprobe.stats.intervals import LEVEL, Interval, cautious_difference

FEW = 10
"""Minimum number of problems whose outcome differs from the majority outcome. With fewer, many resamples have none, and
the bootstrap's interval is too short; without any, it has no width."""


@dataclass(frozen=True)
class PairedTest:
    """Two students on the same problems.

    Attributes:
        n: Number of problems.
        difference: Accuracy of `a` minus accuracy of `b`.
        interval: Interval of the difference, from `paired_interval`.
        only_a: Number of problems that only `a` solved; with several answers, on which `a` has the higher mean.
        only_b: Number of problems that only `b` solved; with several answers, on which `b` has the higher mean.
        p: Two-sided p of McNemar's exact test; with several answers, of the sign-flip test over problems.
    """

    n: int
    difference: float
    interval: Interval
    only_a: int
    only_b: int
    p: float


def paired_test(a: Sequence[bool] | NDArray[np.bool_], b: Sequence[bool] | NDArray[np.bool_]) -> PairedTest:
    """Compares two students problem by problem: McNemar's exact test, and the difference with its interval.

    Args:
        a: Whether student `a` solved each problem.
        b: The same for student `b`, in the same order.
    """
    left, right = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    only_a, only_b = int((left > right).sum()), int((right > left).sum())
    split = only_a + only_b
    return PairedTest(
        n=len(left),
        difference=float(left.mean() - right.mean()),
        interval=paired_interval(only_a, only_b, len(left)),
        only_a=only_a,
        only_b=only_b,
        # McNemar's exact test treats each problem that only one of the two solved as a fair coin toss.
        p=float(scipy.stats.binomtest(only_a, split, 0.5).pvalue) if split else 1.0,
    )


def paired_interval(only_a: int, only_b: int, n: int) -> Interval:
    """Interval of the difference between two students' accuracies on the same n problems.

    A problem has one of three outcomes: solved only by a, solved only by b, or the same for both. The interval is the
    paired bootstrap over problems if at least ten problems were solved by only one of the two, and at least ten have
    an outcome other than the most common one. With fewer, the bootstrap's interval is too short, and has no width if
    all outcomes are the same, so the interval is Bonett and Price's (2012).

    Args:
        only_a: Number of problems that only `a` solved.
        only_b: Number of problems that only `b` solved.
        n: Number of problems.
    """
    alike = n - only_a - only_b
    if min(only_a + only_b, n - max(only_a, only_b)) >= FEW:
        return mean_interval(np.repeat([1.0, -1.0, 0.0], [only_a, only_b, alike]))
    centre, error = cautious_difference(only_a, only_b, n)
    half = float(scipy.stats.norm.ppf((1 + LEVEL) / 2)) * error
    return Interval(max(-1.0, centre - half), min(1.0, centre + half))
