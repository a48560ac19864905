"""Two students with several answers to each problem: a paired test of each problem's mean, and its interval.

The signs of the differences are flipped; with one answer per problem, this is McNemar's exact test.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from kdprobe.stats.bootstrap import mean_interval
from kdprobe.stats.clustered import sign_flip_p
from kdprobe.stats.intervals import LEVEL, Interval, cautious_difference
from kdprobe.stats.mcnemar import FEW, PairedTest

_DIGITS = 9
"""Differences that agree to this many decimals count as equal."""
_PATTERNS, _CHUNK = 20_000, 500
"""Sign patterns that are drawn if the exact distribution cannot be computed, and how many at a time."""
_MANY = 2_000
"""Number of problems that differ from which on a sum with random signs is normal to all digits that matter."""
_MOST_ADDITIONS = 10**8
"""Additions up to which a distribution is built up; it takes a tenth of a second."""
_LARGEST = 2.0**40
"""Differences in units of their denominator beyond which it is useless to try."""


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
    if n - np.unique(np.round(differences, _DIGITS), return_counts=True)[1].max() >= FEW:
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
