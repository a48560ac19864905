"""Intervals and paired tests, through scipy and statsmodels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, norm
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

LEVEL = 0.95
SIGNIFICANT = 0.05
_RESAMPLES = 10_000
_CHUNK = 500
"""Resamples at once, so that memory does not grow with their number."""
_FEW = 16
"""Distinct values; differences of right and wrong have three."""
_FEW_DISCORDANT = 10
"""Problems that only one side solved. With fewer, many resamples hold none, and the bootstrap's interval collapses."""


@dataclass(frozen=True)
class Interval:
    """A confidence interval at 95 %."""

    low: float
    high: float


@dataclass(frozen=True)
class PairedTest:
    """Two students on the same problems.

    Attributes:
        n: Problems.
        difference: Accuracy of a minus accuracy of b.
        interval: Of the difference, from `paired_interval`.
        only_a: Problems that only a solved.
        only_b: Problems that only b solved.
        p: Exact McNemar, two-sided.
    """

    n: int
    difference: float
    interval: Interval
    only_a: int
    only_b: int
    p: float


def accuracy_interval(correct: int, n: int) -> Interval:
    """Wilson's score interval of a proportion (Wilson, 1927)."""
    low, high = proportion_confint(correct, n, alpha=1 - LEVEL, method="wilson")
    return Interval(float(low), float(high))


def paired_test(a: Sequence[bool], b: Sequence[bool]) -> PairedTest:
    """Compares two students problem by problem.

    Args:
        a: Whether a solved each problem.
        b: The same for b, in the same order.
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
        # McNemar's exact test is a fair coin over the problems that only one of the two solved.
        p=float(binomtest(only_a, split, 0.5).pvalue) if split else 1.0,
    )


def paired_interval(only_a: int, only_b: int, n: int) -> Interval:
    """Interval of the difference of two students' accuracies on the same n problems.

    The paired bootstrap over problems, where at least ten problems were solved by only one of the two. With fewer it
    is too short, and of no width with none, so the interval is Bonett and Price's (2012).

    Args:
        only_a: Problems that only a solved.
        only_b: Problems that only b solved.
        n: Problems.
    """
    if only_a + only_b >= _FEW_DISCORDANT:
        return mean_interval(np.repeat([1.0, -1.0, 0.0], [only_a, only_b, n - only_a - only_b]))
    centre, error = cautious_difference(only_a, only_b, n)
    half = float(norm.ppf((1 + LEVEL) / 2)) * error
    return Interval(max(-1.0, centre - half), min(1.0, centre + half))


def cautious_difference(only_a: float, only_b: float, n: int) -> tuple[float, float]:
    """A difference of paired shares and its standard error, never zero (Bonett and Price, 2012).

    Each side is given one more problem that only it solved; the error is Wald's from those counts.
    """
    a, b = (only_a + 1) / (n + 2), (only_b + 1) / (n + 2)
    return a - b, float(np.sqrt((a + b - (a - b) ** 2) / (n + 2)))


def mean_interval(values: NDArray[np.float64]) -> Interval:
    """Percentile bootstrap of a mean over problems, seeded."""
    random = np.random.default_rng(0)
    distinct, counts = np.unique(values, return_counts=True)
    if len(distinct) <= _FEW:
        # How often each value is drawn in a resample is multinomial: the same distribution without the draws.
        means = random.multinomial(len(values), counts / len(values), size=_RESAMPLES) @ distinct / len(values)
    else:
        drawn = (random.integers(0, len(values), size=(_CHUNK, len(values))) for _ in range(_RESAMPLES // _CHUNK))
        means = np.concatenate([values[places].mean(axis=1) for places in drawn])
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values within one planned family, in the order given."""
    if not p_values:
        return []
    return [float(p) for p in multipletests(list(p_values), method="holm")[1]]
