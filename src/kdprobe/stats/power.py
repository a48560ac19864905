"""Power: which differences a test of students or of strategies can detect, and how many problems that needs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy
from numpy.typing import NDArray
from scipy.special import bdtrik, betainc, chdtri, ndtr, ndtri, stdtrit

_TAIL = 1e-12
"""Probability of the extreme numbers of discordant problems that are ignored at either end."""
_QUANTILES = 64
"""How many values stand for the distribution of a variance over seeds; twice as many change the result by 0.3%."""


def mcnemar_power(n: int, difference: float, discordant_share: float, alpha: float = 0.05) -> float:
    """Probability that the two-sided exact McNemar test rejects.

    The number of discordant problems is binomial, and so, given that number, is the number that only `a` solved. Both
    are summed exactly.

    Args:
        n: Number of problems.
        difference: True accuracy of a minus that of b, in absolute value at most the discordant share.
        discordant_share: True share of problems that only one of the two solves, from 0 to 1.
        alpha: Significance level. Within a family adjusted by Holm's method, divide by the number of comparisons to be
            conservative.
    """
    if discordant_share == 0:
        return 0.0
    low, high = _binomial_quantile(np.array([_TAIL, 1 - _TAIL]), n, discordant_share)
    discordant = np.arange(low, high + 1)
    # Rejected if one of the two solved at most this many of them alone; -1 if no split is unlikely enough.
    largest = _binomial_quantile(alpha / 2, discordant, 0.5) - 1
    only_a = (1 + difference / discordant_share) / 2
    rejects = _binomial(largest, discordant, only_a) + _binomial(largest, discordant, 1 - only_a)
    probability = np.diff(_binomial(np.arange(low - 1, high + 1), n, discordant_share))
    return float(probability @ rejects)


def detectable_difference(n: int, discordant_share: float, alpha: float = 0.05, power: float = 0.8) -> float | None:
    """The smallest true difference in accuracy that McNemar's exact test detects with this power.

    Args:
        n: Number of problems.
        discordant_share: Share of problems that only one of the two solves, from 0 to 1.
        alpha: As in `mcnemar_power`.
        power: Probability of detecting the difference.

    Returns:
        A difference above 0 and at most the share, or `None` if not even all discordant problems on one side would be
        detected: too few problems, or a share of 0.
    """
    if mcnemar_power(n, discordant_share, discordant_share, alpha) < power:
        return None
    return float(
        scipy.optimize.brentq(
            lambda difference: mcnemar_power(n, difference, discordant_share, alpha) - power, 0.0, discordant_share
        )
    )


def detectable_mean_difference(
    differing: int, n: int, deviation: float, alpha: float = 0.05, power: float = 0.8
) -> float | None:
    """The smallest true difference in mean accuracy that the sign-flip test over problems detects with this power.

    With several answers to each problem; normal approximation.

    Args:
        differing: Number of problems whose means differ.
        n: Number of problems.
        deviation: Root mean square of the differences over problems.
        alpha: As in `mcnemar_power`.
        power: Probability of detecting the difference.

    Returns:
        A difference above 0, or `None` if so few problems differ that even one direction of all of them would not be
        significant.
    """
    if 2.0 ** (1 - differing) > alpha:
        return None
    quantiles = ndtri([1 - alpha / 2, power])
    return min(1.0, float(quantiles.sum()) * deviation / float(np.sqrt(n)))


def problems_needed(difference: float, discordant_share: float, alpha: float = 0.05, power: float = 0.8) -> int | None:
    """Number of problems that McNemar's exact test needs to detect a difference with this power.

    Power increases with the number of problems except for the steps of a discrete test, so slightly fewer problems may
    be enough.

    Args:
        difference: True difference in accuracy, above 0.
        discordant_share: Share of problems that only one of the two solves, from 0 to 1.
        alpha: As in `mcnemar_power`.
        power: Probability of detecting the difference.

    Returns:
        The number, or `None` for an impossible difference: not above 0, or larger than the share.
    """
    if not 0 < difference <= discordant_share:
        return None
    return fewest_with(lambda n: mcnemar_power(n, difference, discordant_share, alpha), power)


def fewest_with(power_of: Callable[[int], float], power: float) -> int:
    """The smallest number of problems at which a power is reached, if it increases with their number."""
    enough = 1
    while power_of(enough) < power:
        enough *= 2
    too_few = enough // 2
    while enough - too_few > 1:
        middle = (enough + too_few) // 2
        if power_of(middle) < power:
            too_few = middle
        else:
            enough = middle
    return enough


def detectable_strategy_difference(
    n: int, seeds: int, discordant_share: float, alpha: float = 0.05, power: float = 0.8
) -> float | None:
    """The smallest true difference between two strategies that `crossed_test` detects with this power.

    Assumes that students of one strategy disagree as often as students of two, so that seeds differ only by chance, and
    averaging over them helps as much as it can. The test is then Welch's t-test of the students' accuracies (Welch,
    1947), whose power is averaged over the distribution of the two estimated variances. Where seeds differ by more than
    chance, only larger differences can be detected.

    Args:
        n: Number of problems.
        seeds: Number of students of each strategy, at least 2.
        discordant_share: Share of problems that only one of any two students solves, from 0 to 1.
        alpha: As in `mcnemar_power`.
        power: Probability of detecting the difference.

    Returns:
        A difference above 0 and at most the share, or `None` if it would have to be larger than the share.
    """
    if discordant_share == 0:
        return None
    steps = (np.arange(_QUANTILES) + 0.5) / _QUANTILES
    estimated = chdtri(seeds - 1, 1 - steps) / (seeds - 1)
    a, b = estimated[:, None], estimated[None]
    df = (seeds - 1) * (a + b) ** 2 / (a**2 + b**2)
    # In units of the true standard error.
    critical = stdtrit(df, 1 - alpha / 2) * np.sqrt((a + b) / 2)
    error = np.sqrt(discordant_share / (n * seeds))

    def missing(difference: float) -> float:
        shift = difference / error
        return float((ndtr(shift - critical) + ndtr(-critical - shift)).mean() - power)

    return float(scipy.optimize.brentq(missing, 0.0, discordant_share)) if missing(discordant_share) >= 0 else None


def _binomial(k: NDArray[np.float64], n: NDArray[np.float64] | int, p: float) -> NDArray[np.float64]:
    """P(X <= k) of a binomial X; as `scipy.stats.binom.cdf`, without the third of a second that its import takes."""
    return np.where(k < 0, 0.0, np.where(k < n, betainc(np.maximum(n - k, 1), np.maximum(k + 1, 1), 1 - p), 1.0))


def _binomial_quantile(q: NDArray[np.float64] | float, n: NDArray[np.float64] | int, p: float) -> NDArray[np.float64]:
    """The smallest k with P(X <= k) of at least q; as `scipy.stats.binom.ppf`."""
    k = np.where(np.equal(n, 0), 0.0, np.ceil(bdtrik(q, n, p)))
    below = np.maximum(k - 1, 0)
    return np.where(_binomial(below, n, p) >= q, below, k)
