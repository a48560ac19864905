"""Means over problems with bootstrap intervals, for many heads at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kdprobe.evaluation.statistics import LEVEL

_RESAMPLES = 2_000
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Pooled:
    """Means over problems, and the ends of their 95 % intervals, all of one shape; no interval for one problem."""

    mean: Array
    low: Array
    high: Array


def resamples(values: Array, seed: int = 0) -> Array:
    """Means of problems drawn with replacement, `[resample, ...]`, of `[problem, ...]`; the draw is that of the seed."""
    problems = len(values)
    random = np.random.default_rng(seed)
    weights = random.multinomial(problems, np.full(problems, 1 / problems), size=_RESAMPLES) / problems
    return np.tensordot(weights, values, axes=1)


def pooled(values: Array) -> Pooled:
    """The mean over the first axis with its percentile interval (Efron, 1979)."""
    return _within(values.mean(axis=0), resamples(values), len(values))


def pooled_share(values: Array, totals: Array) -> Pooled:
    """The mean of values over the mean of totals, problems drawn for both together.

    Args:
        values: `[problem, ...]`.
        totals: `[problem]`.
    """
    total = resamples(totals).reshape(-1, *[1] * (values.ndim - 1))
    return _within(values.mean(axis=0) / totals.mean(), resamples(values) / total, len(values))


def _within(mean: Array, drawn: Array, problems: int) -> Pooled:
    if problems == 1:
        unknown = np.full_like(mean, np.nan)
        return Pooled(mean, unknown, unknown)
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return Pooled(mean, low, high)
