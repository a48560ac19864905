"""One-sided bounds and p-values for a mean of paired differences: did a score fall, and by less than a margin?

For documents that are right or wrong, bounds come from Tango's score test (Tango, 1998, Statistics in Medicine 17,
891-908), whose variance is estimated under the difference that is tested, so that it holds for few disagreements too;
half a document is subtracted for continuity, without which it errs too often where all disagreements go one way.
For other scores they come from the leave-one-out standard error and Student's t.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from kdprobe.stats.clustered import Groups, unanimous_counts
from kdprobe.stats.cochran import critical_value, upper_tail
from kdprobe.stats.crossed import crossed_estimate
from kdprobe.stats.intervals import LEVEL, NO_INTERVAL, Interval, cautious_difference
from kdprobe.stats.power import fewest_with

ONE_SIDED = 0.95
"""Confidence of a one-sided bound."""
_FEWEST = 2
_CONTINUITY = 0.5
_EDGE = 1e-9


@dataclass(frozen=True)
class PairedChange:
    """How much a score changed on the same documents.

    Attributes:
        n: Number of documents.
        change: Weighted mean of the differences.
        low: One-sided 95% lower bound of the change; minus infinity if there are too few documents for one.
        high: One-sided 95% upper bound of the change.
        p_lower: One-sided p-value against the hypothesis that the score did not fall.
    """

    n: int
    change: float
    low: float
    high: float
    p_lower: float


def paired_change(differences: NDArray[Any], weights: NDArray[Any] | None = None) -> PairedChange:
    """The change of a score, with one-sided bounds.

    Args:
        differences: The difference on each document, `[n]`.
        weights: The weight of each document, `[n]`; by default, all count the same.
    """
    values = np.asarray(differences, dtype=float)
    if weights is None and np.isin(values, (-1.0, 0.0, 1.0)).all():
        return _of_shares(int((values == 1).sum()), int((values == -1).sum()), len(values))
    if len(values) < _FEWEST:
        # A single score says nothing of how much scores vary.
        return PairedChange(len(values), float(values.mean()), -math.inf, math.inf, 1.0)
    change, error, df = _mean(values, np.ones_like(values) if weights is None else np.asarray(weights, dtype=float))
    half = float(scipy.stats.t.ppf(ONE_SIDED, df)) * error
    p = float(scipy.stats.t.cdf(change / error, df)) if error else float(0.0 if change < 0 else 1.0)
    return PairedChange(len(values), change, change - half, change + half, p)


def seeds_change(differences: NDArray[Any], weights: NDArray[Any] | None = None) -> PairedChange:
    """The mean change of a strategy's students, with one-sided bounds over seeds and documents.

    Args:
        differences: The difference of each student on each document, `[seeds, n]`; three students or more.
        weights: The weight of each document, `[n]`; by default, all count the same.
    """
    values = np.asarray(differences, dtype=float)
    n = values.shape[1]
    if n < _FEWEST:
        return PairedChange(n, float(values.mean()), -math.inf, math.inf, 1.0)
    sizes = np.ones(n) if weights is None else np.asarray(weights, dtype=float)
    change = float(np.average(values, axis=1, weights=sizes).mean())
    estimate = crossed_estimate(_weighted_residuals(values, change, sizes), np.zeros((1, n)), Groups(range(n)))
    error = float(estimate.error)
    centre, parts = change, (float(estimate.seeds_share), len(values) - 1, n - 1)
    if error == 0 and np.isin(values, (-1.0, 0.0, 1.0)).all():
        # All documents agree, which with few of them also happens by chance.
        centre, error = cautious_difference(*unanimous_counts(change, n), n)
    half = critical_value(1 - ONE_SIDED, *parts) * error
    p = upper_tail(-centre / error, *parts) if error else float(change >= 0)
    return PairedChange(n, change, centre - half, centre + half, p)


def weighted_interval(values: NDArray[Any], weights: NDArray[Any]) -> Interval:
    """Two-sided 95% interval of a weighted mean over documents: leave-one-out standard error, Student's t.

    Args:
        values: The score of each document, `[n]`.
        weights: The weight of each document, `[n]`.
    """
    if len(values) < _FEWEST:
        return NO_INTERVAL
    mean, error, df = _mean(np.asarray(values, dtype=float), np.asarray(weights, dtype=float))
    half = float(scipy.stats.t.ppf((1 + LEVEL) / 2, df)) * error
    return Interval(mean - half, mean + half)


def _mean(values: NDArray[np.float64], weights: NDArray[np.float64]) -> tuple[float, float, int]:
    """A weighted mean, its leave-one-out standard error, and its degrees of freedom."""
    mean = float(np.average(values, weights=weights))
    residuals = _weighted_residuals(values, mean, weights)
    return mean, math.sqrt(float(Groups(range(len(values))).left_out_variance(residuals))), len(values) - 1


def _weighted_residuals(values: NDArray[np.float64], mean: float, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """How much, to first order, each document [..., n] changes a weighted mean, which is a ratio of sums."""
    residuals: NDArray[np.float64] = (values - mean) * weights / weights.mean()
    return residuals


def _of_shares(gained: int, lost: int, n: int) -> PairedChange:
    bound = float(scipy.stats.norm.ppf(ONE_SIDED))
    change = (gained - lost) / n

    def lowest(more: int, fewer: int) -> float:
        """The smallest difference, more minus fewer, that the statistic does not reject."""
        start, stop = _EDGE - 1, min((more - fewer) / n, 1 - _EDGE)

        def excess(at: float) -> float:
            return score_statistic(more, fewer, n, at, _CONTINUITY) - bound

        return float(scipy.optimize.brentq(excess, start, stop)) if excess(start) > 0 else -1.0

    # What is lost is gained by the other model, so the upper bound is the other's lower bound.
    low, high = lowest(gained, lost), -lowest(lost, gained)
    return PairedChange(n, change, low, high, float(scipy.stats.binom.cdf(gained, gained + lost, 0.5)))


def score_statistic(gained: int, lost: int, n: int, difference: float, continuity: float = 0.0) -> float:
    """Tango's score statistic for a true difference; standard normal if it is the true one.

    Args:
        gained: Documents that only the second model has right.
        lost: Documents that only the first has right.
        n: All documents.
        difference: The true difference of the shares, second minus first, above -1 and below 1.
        continuity: Documents by which the evidence for a larger difference is reduced.
    """
    a = 2 * n
    b = -gained - lost + (2 * n - gained + lost) * difference
    c = -lost * difference * (1 - difference)
    only_first = (math.sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)
    variance = n * (2 * only_first + difference * (1 - difference))
    above = gained - lost - n * difference - continuity
    if variance <= 0:
        return math.copysign(math.inf, above) if above else 0.0
    return above / math.sqrt(variance)


def power_to_retain(n: int, margin: float, discordant_share: float) -> float:
    """The probability that the lower bound is above the negative margin if nothing was lost; normal approximation.

    Args:
        n: Number of documents.
        margin: The largest loss that counts as retained, as a share.
        discordant_share: Share of documents that only one of the two models has right.
    """
    error = math.sqrt(discordant_share / n)
    return float(scipy.stats.norm.cdf((margin - _CONTINUITY / n) / error - scipy.stats.norm.ppf(ONE_SIDED)))


def documents_to_retain(margin: float, discordant_share: float, power: float) -> int:
    """The number of documents at which `power_to_retain` reaches a power."""
    return fewest_with(lambda n: power_to_retain(n, margin, discordant_share), power)
