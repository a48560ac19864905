"""Whether students' rates differ between two sides by more than they do between seeds.

Training with another seed makes another student, which may say "wait" or "I think" more often by habit. A test over
problems cannot tell such a habit from an effect of the strategy. From three seeds on it can be told: the rates of a
strategy's students are compared with Student's t. As two strategies have few students, the variance between seeds is
pooled over all strategies that are compared, on the arcsine scale, where it depends little on the rate; there chance
alone gives 1 / (4 n) with n problems, and no less is assumed (Freeman and Tukey, 1950; Anscombe, 1948).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import scipy
from numpy.typing import NDArray

from kdprobe.stats.least import FEWEST_SEEDS
from kdprobe.stats.rates.more_often import MoreOften


def over_students(tests: Sequence[MoreOften]) -> list[MoreOften]:
    """The same tests, each with the larger of its p-value and that over students; fewer than three seeds stay as are.

    Taking the larger one keeps a test valid if either of the two is.

    Args:
        tests: Tests of the same trace for several strategies, usually against the same unprimed one.
    """
    able = [test for test in tests if test.seeds >= FEWEST_SEEDS]
    if not able:
        return list(tests)
    sides = dict.fromkeys((test.n, rates) for test in able for rates in (test.rates_a, test.rates_b))
    df = sum(len(rates) - 1 for _, rates in sides)
    pooled = sum(float(_scaled(rates).var(ddof=1)) * (len(rates) - 1) for _, rates in sides) / df

    def p(test: MoreOften) -> float:
        variance = max(pooled, 1 / (4 * test.n)) * 2 / test.seeds
        t = (_scaled(test.rates_a).mean() - _scaled(test.rates_b).mean()) / np.sqrt(variance)
        return float(scipy.stats.t.sf(t, df))

    return [replace(test, p=max(test.p, p(test))) if test.seeds >= FEWEST_SEEDS else test for test in tests]


def _scaled(rates: Sequence[float]) -> NDArray[np.float64]:
    return np.asarray(np.arcsin(np.sqrt(rates)))
