"""Means per token of strategies with several seeds: ratios of sums over prompts, with seeds and prompts as samples.

A strategy's mean is that over all tokens of its students' texts. As in `crossed`, seeds and prompts are left out in
turn; a ratio of sums is replaced by what each prompt contributes to it, to first order.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdprobe.stats.clustered import ClusteredMean, Groups
from kdprobe.stats.crossed import CrossedEstimate, crossed_estimate, half_width
from kdprobe.stats.intervals import Interval


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
