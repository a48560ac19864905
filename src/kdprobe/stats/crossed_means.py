"""Means of strategies with several seeds, and ratios of means, with seeds and prompts (or problems) as samples.

A strategy's mean per token is that over all tokens of its students' texts, a ratio of sums over prompts. As in
`crossed`, seeds and prompts are left out in turn; a ratio of sums is replaced by what each prompt contributes to it, to
first order.

With few problems, that is too rough for a ratio of two means that vary, and percentiles of a resampled ratio cover too
rarely. Fieller's interval (Fieller, E. C. (1954), "Some problems in interval estimation") has all ratios r for which
the mean of numerator - r denominator may be zero, so it is as valid as the interval of a mean.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from kdprobe.stats.bootstrap import Means
from kdprobe.stats.clustered import ClusteredMean, Groups
from kdprobe.stats.crossed import CrossedEstimate, crossed_estimate, half_width, half_widths
from kdprobe.stats.intervals import LEVEL, Interval

Array = NDArray[np.float64]
_FEWEST = 2
_DOUBLINGS, _HALVINGS = 50, 30
"""Steps of the search for an end of Fieller's interval."""


def crossed_mean(sums: NDArray[Any], sizes: NDArray[Any]) -> ClusteredMean:
    """A strategy's mean per token, with its interval over seeds and prompts.

    Args:
        sums: Sum over the tokens of each student's text after each prompt, `[seeds, prompts]`; three seeds or more.
        sizes: Number of these tokens, `[seeds, prompts]`.
    """
    mean, shares = _contributions(sums, sizes)
    prompts = shares.shape[1]
    estimate = crossed_estimate(shares, np.zeros((1, prompts)), Groups(range(prompts)))
    return _with_interval(mean, estimate)


def crossed_difference(a: tuple[NDArray[Any], NDArray[Any]], b: tuple[NDArray[Any], NDArray[Any]]) -> ClusteredMean:
    """Strategy a's mean per token minus strategy b's, with its interval over seeds and prompts.

    Args:
        a: Sums and sizes as for `crossed_mean`, for the same prompts in the same order.
        b: Likewise; the number of seeds may differ.
    """
    (mean_a, shares_a), (mean_b, shares_b) = _contributions(*a), _contributions(*b)
    estimate = crossed_estimate(shares_a, shares_b, Groups(range(shares_a.shape[1])))
    return _with_interval(mean_a - mean_b, estimate)


def _with_interval(value: float, estimate: CrossedEstimate) -> ClusteredMean:
    error = float(estimate.error)
    half = half_width(estimate, error)
    return ClusteredMean(value, error, Interval(value - half, value + half))


def _contributions(sums: NDArray[Any], sizes: NDArray[Any]) -> tuple[float, NDArray[np.float64]]:
    """The mean over all tokens, and how much each student and prompt moves it, to first order, `[seeds, prompts]`."""
    mean = float(sums.sum() / sizes.sum())
    return mean, (sums - mean * sizes) / sizes.mean()


@dataclass(frozen=True)
class MeanEstimate:
    """Means with their standard errors, all of one shape.

    Attributes:
        value: The means.
        error: Their standard errors; NaN for a single problem.
        half: Half the widths of their 95% intervals.
    """

    value: Array
    error: Array
    half: Array

    @property
    def means(self) -> Means:
        """The means with the ends of their intervals."""
        return Means(self.value, self.value - self.half, self.value + self.half)


def estimated_means(values: Array) -> MeanEstimate:
    """Means over problems with Student's t intervals; over at least three seeds and problems, with crossed ones.

    Args:
        values: `[seed, problem, ...]`, all finite; one seed, or at least three.

    Returns:
        Means in the shape of one problem.
    """
    seeds, problems = values.shape[:2]
    value = values.mean(axis=(0, 1))
    if problems < _FEWEST:
        missing = np.full_like(value, np.nan)
        return MeanEstimate(value, missing, missing)
    if seeds == 1:
        error = values[0].std(axis=0, ddof=1) / np.sqrt(problems)
        return MeanEstimate(value, error, scipy.stats.t.ppf((1 + LEVEL) / 2, problems - 1) * error)
    found = crossed_estimate(
        np.moveaxis(values, (0, 1), (-2, -1)), np.zeros((*value.shape, 1, problems)), Groups(range(problems))
    )
    return MeanEstimate(value, found.error, half_widths(found))


def ratio_of_means(numerator: Array, denominator: Array) -> Means:
    """Means over means with Fieller's intervals.

    Args:
        numerator: `[seed, problem, ...]`, all finite; one seed, or at least three.
        denominator: Of a shape that fits.

    Returns:
        Ratios in the shape of one problem. Where the denominator's own interval contains zero, the ratio may have any
        size, and its interval is NaN; so it is for a single problem.
    """
    below = estimated_means(denominator)
    known = np.abs(below.value) > below.half
    with np.errstate(divide="ignore", invalid="ignore"):
        value = numerator.mean(axis=(0, 1)) / below.value
    centre = np.where(known, value, 0.0)

    def is_possible(ratio: Array) -> NDArray[np.bool_]:
        remainder = estimated_means(numerator - ratio * denominator)
        possible: NDArray[np.bool_] = known & (np.abs(remainder.value) <= remainder.half)
        return possible

    ends = []
    for sign in (-1, 1):
        inside, outside = np.zeros_like(centre), np.ones_like(centre)
        for _ in range(_DOUBLINGS):
            further = is_possible(centre + sign * outside)
            if not further.any():
                break
            inside, outside = np.where(further, outside, inside), np.where(further, 2 * outside, outside)
        for _ in range(_HALVINGS):
            middle = (inside + outside) / 2
            possible = is_possible(centre + sign * middle)
            inside, outside = np.where(possible, middle, inside), np.where(possible, outside, middle)
        ends.append(np.where(known, centre + sign * inside, np.nan))
    return Means(value, *ends)
