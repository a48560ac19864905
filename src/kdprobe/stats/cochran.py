"""Student's t for a sum of two variances with different degrees of freedom (Cochran, 1964, Biometrics 20, 191-195).

The critical value is the mean of those of both parts, weighted by their variances. Unlike Satterthwaite's approximation
it isn't too small far out in the tails, where a variance that two or three seeds estimate is often much too small by
chance, and where adjusting for several comparisons looks.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

_SMALLEST = 1e-12


def critical_value(tail: float, share: float, df: float, other_df: float) -> float:
    """The value that is exceeded with this probability.

    Args:
        tail: Probability above the value, at most 0.5.
        share: Share of the first part in the variance, from 0 to 1.
        df: Degrees of freedom of the first part.
        other_df: Degrees of freedom of the second part.
    """
    return float(critical_values(tail, np.asarray(share), df, other_df))


def critical_values(tail: float, shares: NDArray[Any], df: float, other_df: float) -> NDArray[np.float64]:
    """The same for many shares, `[...]`."""
    first, second = scipy.stats.t.isf(tail, df), scipy.stats.t.isf(tail, other_df)
    return np.asarray(shares * first + (1 - shares) * second)


def upper_tail(t: float, share: float, df: float, other_df: float) -> float:
    """The probability above a value of the statistic; arguments as in `critical_value`."""
    if t < 0:
        return 1 - upper_tail(-t, share, df, other_df)
    if critical_value(_SMALLEST, share, df, other_df) <= t:
        return _SMALLEST

    def excess(tail: float) -> float:
        return critical_value(tail, share, df, other_df) - t

    return float(scipy.optimize.brentq(excess, _SMALLEST, 0.5, xtol=_SMALLEST))
