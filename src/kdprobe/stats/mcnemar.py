"""Two students on the same problems: exact paired tests, and an interval of the difference in accuracy.

With one answer per problem it is McNemar's test. With several, each problem's mean is compared, and the signs of the
differences are flipped; for one answer, both are the same test.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from kdprobe.stats.bootstrap import mean_interval
from kdprobe.stats.clustered import sign_flip_p
from kdprobe.stats.intervals import LEVEL, Interval, cautious_difference

_FEW = 10
"""Minimum number of problems whose outcome differs from the majority outcome. With fewer, many resamples have none, and
the bootstrap's interval is too short; without any, it has no width."""
_DIGITS = 9
"""Differences that agree in so many decimals are the same."""
_PATTERNS, _CHUNK = 20_000, 500
"""Sign patterns that are drawn if their distribution cannot be built up, and how many at a time."""
_MANY = 2_000
"""Number of problems that differ from which on a sum with random signs is normal to all digits that matter."""
_MOST_ADDITIONS = 10**8
"""Additions up to which a distribution is built up; it takes a tenth of a second."""
_LARGEST = 2.0**40
"""Differences in units of their denominator beyond which it is useless to try."""


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
    if min(only_a + only_b, n - max(only_a, only_b)) >= _FEW:
        return mean_interval(np.repeat([1.0, -1.0, 0.0], [only_a, only_b, alike]))
    centre, error = cautious_difference(only_a, only_b, n)
    half = float(scipy.stats.norm.ppf((1 + LEVEL) / 2)) * error
    return Interval(max(-1.0, centre - half), min(1.0, centre + half))


def paired_means_test(a: NDArray[Any], b: NDArray[Any], denominator: int) -> PairedTest:
    """Compares two students by the means of several answers to each problem.

    Args:
        a: The mean score of student `a` on each problem, from 0 to 1, `[n]`.
        b: The same for student `b`, in the same order.
        denominator: A common denominator of all differences, such as the number of answers.
    """
    differences = np.asarray(a, dtype=float) - np.asarray(b, dtype=float)
    whole = np.rint(differences * denominator)
    return PairedTest(
        n=len(differences),
        difference=float(differences.mean()),
        interval=means_interval(whole / denominator),
        only_a=int((whole > 0).sum()),
        only_b=int((whole < 0).sum()),
        p=flipped_p(differences, denominator),
    )


def means_interval(differences: NDArray[np.float64]) -> Interval:
    """Interval of a mean difference over problems, each of which has a difference from -1 to 1, `[n]`.

    The paired bootstrap if at least ten problems differ from the most common difference, else Bonett and Price's
    interval (2012) with the sums of the differences in either direction as counts, which is wider than needed.
    """
    n = len(differences)
    if n - np.unique(np.round(differences, _DIGITS), return_counts=True)[1].max() >= _FEW:
        return mean_interval(differences)
    centre, error = cautious_difference(
        float(differences[differences > 0].sum()), float(-differences[differences < 0].sum()), n
    )
    half = float(scipy.stats.norm.ppf((1 + LEVEL) / 2)) * error
    return Interval(max(-1.0, centre - half), min(1.0, centre + half))


def flipped_p(differences: NDArray[np.float64], denominator: int) -> float:
    """Two-sided p of a mean difference under random signs of each problem's difference; see `sign_flip_p`.

    Args:
        differences: The difference on each problem, `[n]`.
        denominator: A common denominator of all differences. If it is so large that the exact distribution cannot be
            built up, 20,000 patterns of signs are drawn, with a fixed seed; with thousands of problems that differ, the
            sum is taken to be normal.
    """
    whole = np.rint(differences * denominator)
    whole = whole[whole != 0]
    if not len(whole):
        return 1.0
    if float(np.abs(whole).max()) < _LARGEST:
        steps = whole.astype(np.int64)
        steps //= np.gcd.reduce(steps)
        if len(steps) * int(np.abs(steps).sum()) <= _MOST_ADDITIONS:
            return sign_flip_p(steps)
    observed = abs(float(whole.sum()))
    if len(whole) > _MANY:
        return float(2 * scipy.stats.norm.sf(observed / np.sqrt((whole**2).sum())))
    random = np.random.default_rng(0)
    rounding = 1e-9 * float(np.abs(whole).sum())
    as_large = 0
    for _ in range(_PATTERNS // _CHUNK):
        signs = 2.0 * random.integers(0, 2, size=(_CHUNK, len(whole))) - 1
        as_large += int((np.abs(signs @ whole) >= observed - rounding).sum())
    # The observed signs are one of the patterns.
    return (as_large + 1) / (_PATTERNS + 1)
