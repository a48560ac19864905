"""The interval type, and the intervals that need no resampling."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """A confidence interval at 95%, in the unit of the estimate.

    Attributes:
        low: Lower end; NaN if there are too few values for an interval.
        high: Upper end.
    """

    low: float
    high: float

    @property
    def known(self) -> bool:
        """Whether there were enough values for an interval."""
        return not math.isnan(self.low)


NO_INTERVAL = Interval(math.nan, math.nan)
"""The interval if there are too few values for one."""


def accuracy_interval(correct: float, n: float) -> Interval:
    """Wilson's score interval of a proportion (Wilson, 1927).

    Args:
        correct: Number of successes.
        n: Number of trials, at least one; an effective number may be fractional.
    """
    from statsmodels.stats.proportion import proportion_confint

    low, high = proportion_confint(correct, n, alpha=1 - LEVEL, method="wilson")
    # Exactly 0 and 1 where the formula gives them; rounding would leave 2.8e-17.
    return Interval(0.0 if correct <= 0 else float(low), 1.0 if correct >= n else float(high))


def cautious_difference(only_a: float, only_b: float, n: int) -> tuple[float, float]:
    """A difference of paired proportions and its standard error, which is never zero (Bonett and Price, 2012).

    Each side is credited with one more problem that only it solved; the error is Wald's from these counts.
    """
    a, b = (only_a + 1) / (n + 2), (only_b + 1) / (n + 2)
    return a - b, float(np.sqrt((a + b - (a - b) ** 2) / (n + 2)))
