"""Spearman's rank correlation with its interval."""

from __future__ import annotations

import numpy as np
import scipy
from numpy.typing import NDArray

from kdprobe.stats.intervals import LEVEL, Interval


def spearman(a: NDArray[np.float64], b: NDArray[np.float64]) -> tuple[float, Interval]:
    """Spearman's rank correlation with its 95% interval (Bonett and Wright, 2000), treating units as independent.

    Args:
        a: One value per unit, such as a head; four units or more.
        b: The same units in the same order.
    """
    ranks = scipy.stats.rankdata(a), scipy.stats.rankdata(b)
    # Exactly 1 and -1; rounding would leave 0.9999999999999999, and an interval around it.
    for perfect, order in ((1.0, ranks[1]), (-1.0, len(ranks[1]) + 1 - ranks[1])):
        if np.ptp(ranks[0]) > 0 and np.array_equal(ranks[0], order):
            return perfect, Interval(perfect, perfect)
    correlation = float(scipy.stats.spearmanr(a, b).statistic)
    half = scipy.stats.norm.ppf((1 + LEVEL) / 2) * np.sqrt((1 + correlation**2 / 2) / (len(a) - 3))
    low, high = np.tanh(np.arctanh(correlation) + np.array([-half, half]))
    return correlation, Interval(float(low), float(high))
