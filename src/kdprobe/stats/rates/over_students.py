"""Whether students' rates differ between two sides by more than they do between seeds.

Another seed gives another student, which may say "wait" or "I think" more often by habit. A test over
problems cannot tell such a habit from an effect of the strategy. With three or more seeds, the two can be told apart:
the rates of a strategy's students are compared with Student's t. As two strategies have few students, the variance
between seeds is pooled over all strategies that are compared, on the arcsine scale, where it depends little on the
rate. There, chance alone gives 1 / (4 n) with n problems, and the variance is never taken to be smaller (Freeman and
Tukey, 1950; Anscombe, 1948).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace

import numpy as np
import scipy
from numpy.typing import NDArray

from kdprobe.stats.least import FEWEST_SEEDS
from kdprobe.stats.rates.more_often import MoreOften


def over_students(tests: Sequence[MoreOften], sides: Sequence[tuple[Hashable, Hashable]]) -> list[MoreOften]:
    """The same tests, each with the larger of its p-value and that over students; fewer than three seeds stay as are.

    Taking the larger one keeps a test valid if either of the two is.

    Args:
        tests: Tests of the same trace for several strategies, usually against the same unprimed one.
        sides: What a and b of each test are. The same name in several tests stands for the same rates, which count once
            in the pooled variance; if they have more students in one of the tests, those.
    """
    students: dict[Hashable, tuple[float, ...]] = {}
    for test, names in zip(tests, sides, strict=True):
        if test.seeds >= FEWEST_SEEDS:
            for name, rates in zip(names, (test.rates_a, test.rates_b), strict=True):
                students[name] = max(students.get(name, ()), rates, key=len)
    if not students:
        return list(tests)
    df = sum(len(rates) - 1 for rates in students.values())
    pooled = sum(float(_scaled(rates).var(ddof=1)) * (len(rates) - 1) for rates in students.values()) / df

    def p(test: MoreOften) -> float:
        variance = max(pooled, 1 / (4 * test.n)) * 2 / test.seeds
        t = (_scaled(test.rates_a).mean() - _scaled(test.rates_b).mean()) / np.sqrt(variance)
        return float(scipy.stats.t.sf(t, df))

    return [replace(test, p=max(test.p, p(test))) if test.seeds >= FEWEST_SEEDS else test for test in tests]


def _scaled(rates: Sequence[float]) -> NDArray[np.float64]:
    return np.asarray(np.arcsin(np.sqrt(rates)))
