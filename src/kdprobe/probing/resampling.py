"""Means over problems with bootstrap intervals, for many heads at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kdprobe.evaluation.statistics import LEVEL

RESAMPLES = 2_000
_COLUMNS = 4_096
"""Heads at once, so that memory does not grow with their number."""

Array = NDArray[np.float64]


def known_mean(values: Array, axis: int | tuple[int, ...]) -> Array:
    """The mean of what is not NaN; NaN where nothing is."""
    known = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        mean: Array = np.where(known, values, 0.0).sum(axis=axis) / known.sum(axis=axis)
    return mean


@dataclass(frozen=True)
class Means:
    """Means over problems and their 95 % intervals, all of one shape; NaN where there is nothing, or no interval."""

    value: Array
    low: Array
    high: Array


def means_over_problems(values: Array, seed: int = 0) -> Means:
    """Means over the first axis with percentile bootstrap intervals: problems are drawn anew, whole.

    Every column is resampled with the same draws, so that columns stay comparable. Problems for which a column has no
    value are left out of it. One problem has no interval.

    Args:
        values: `[problem, ...]`; NaN for no value.
        seed: Of the draws.
    """
    problems, shape = len(values), values.shape[1:]
    flat = values.reshape(problems, -1)
    known = np.isfinite(flat)
    filled = np.where(known, flat, 0.0)
    with np.errstate(invalid="ignore"):
        value = filled.sum(axis=0) / known.sum(axis=0)
        low, high = np.full_like(value, np.nan), np.full_like(value, np.nan)
        if problems > 1:
            random = np.random.default_rng(seed)
            counts = random.multinomial(problems, np.full(problems, 1 / problems), size=RESAMPLES).astype(np.float64)
            for start in range(0, flat.shape[1], _COLUMNS):
                columns = slice(start, start + _COLUMNS)
                drawn = counts @ filled[:, columns] / (counts @ known[:, columns])
                # A draw without a single known problem has no mean; sorting puts it last.
                low[columns], high[columns] = np.nanquantile(
                    np.where(np.isfinite(value[columns]), drawn, 0.0), [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0
                )
            low, high = np.where(np.isfinite(value), low, np.nan), np.where(np.isfinite(value), high, np.nan)
    return Means(value.reshape(shape), low.reshape(shape), high.reshape(shape))
