"""Several answers to each problem: intervals of means over problems, and a paired test of two students' means.

The test flips the signs of the differences; with one answer per problem, it is McNemar's exact test.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from kdprobe.stats.bootstrap import mean_interval
from kdprobe.stats.intervals import LEVEL, NO_INTERVAL, Interval, accuracy_interval, cautious_difference
from kdprobe.stats.mcnemar import FEW, PairedTest
from kdprobe.stats.permutations.sign_flips import settled, sign_flip_p

_DIGITS = 9
"""Values that agree to this many decimals count as equal."""


def paired_means_test(a: NDArray[Any], b: NDArray[Any], denominator: int) -> PairedTest:
    """Compares two students by the means of several answers to each problem.

    Args:
        a: The mean score of student `a` on each problem, from 0 to 1, `[n]`.
        b: The same for student `b`, in the same order.
        denominator: A common denominator of all differences, such as the number of answers.
    """
    differences = settled(np.asarray(a, dtype=float) - np.asarray(b, dtype=float), denominator)
    return PairedTest(
        n=len(differences),
        difference=float(differences.mean()),
        interval=means_interval(differences),
        only_a=int((differences > 0).sum()),
        only_b=int((differences < 0).sum()),
        p=sign_flip_p(differences, denominator),
    )


def means_interval(differences: NDArray[np.float64]) -> Interval:
    """Interval of a mean difference over problems, each of which has a difference from -1 to 1, `[n]`.

    The paired bootstrap if at least ten problems differ from the most common difference, else Bonett and Price's
    interval (2012) with the sums of the differences in either direction as counts, which is wider than needed.
    """
    if _off_the_mode(differences) >= FEW:
        return mean_interval(differences)
    n = len(differences)
    centre, error = cautious_difference(
        float(differences[differences > 0].sum()), float(-differences[differences < 0].sum()), n
    )
    half = float(scipy.stats.norm.ppf((1 + LEVEL) / 2)) * error
    return Interval(max(-1.0, centre - half), min(1.0, centre + half))


def share_interval(values: NDArray[np.float64]) -> Interval:
    """Interval of a mean over problems, each of which has a value from 0 to 1, `[n]`; a single problem has none.

    The bootstrap if at least ten problems differ from the most common value, else Wilson's interval with the sum of
    the values as the number of successes, which is wider than needed.
    """
    if len(values) == 1:
        return NO_INTERVAL
    if _off_the_mode(values) >= FEW:
        return mean_interval(values)
    return accuracy_interval(float(values.sum()), len(values))


def _off_the_mode(values: NDArray[np.float64]) -> int:
    """The number of problems whose value is not the most common one."""
    return int(len(values) - np.unique(np.round(values, _DIGITS), return_counts=True)[1].max())
