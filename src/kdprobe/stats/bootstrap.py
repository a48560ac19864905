"""The percentile bootstrap over problems: one function resamples, all others define the statistic.

Efron, B. (1979), "Bootstrap methods: another look at the jackknife".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from kdprobe.stats.intervals import LEVEL, NO_INTERVAL, Interval

RESAMPLES = 2_000
MEAN_RESAMPLES = 10_000
"""For a mean that a verdict quotes: the interval's ends are then stable to about a hundredth of its width."""
_FEW = 64
"""Up to this many units, multinomial counts are fast to draw, and equal units can be drawn as one."""
TOO_FEW = 10
"""Below this many units, the bootstrap's interval of a mean is clearly too short."""
MANY = 10_000
"""Above this many units, none are drawn individually, because that would cost resamples times units."""
_CELLS = 2**20
"""Counts drawn at a time, so that memory does not grow with the number of resamples."""
_CACHED_CELLS = 2**25
"""Counts cached for the next statistic over the same number of units: 64 MiB."""
_COLUMNS = 4_096
"""Heads processed at a time, so that memory does not grow with their number."""

Array = NDArray[np.float64]
Counts = NDArray[Any]
"""How often each unit was drawn in each resample, `[resample, unit]`."""


def bootstrap(
    statistic: Callable[..., NDArray[Any]], *strata: int | NDArray[Any], resamples: int = RESAMPLES, seed: int = 0
) -> Array:
    """Values of a statistic in resamples of its units (usually problems), `[resample, ...]`.

    Args:
        statistic: Maps how often each unit was drawn, `[resample, unit]`, to values, `[resample, ...]`; it receives one
            such array per stratum.
        *strata: The number of units of each stratum, within which units are drawn; or, if many units are equal, the
            number of units of each kind, and counts are then per kind.
        resamples: Number of resamples.
        seed: Random seed. Statistics over the same number of units share their draws, so they can be compared.
    """
    random = np.random.default_rng(seed)
    if len(strata) == 1:
        return np.concatenate([statistic(counts) for counts in _counts(strata[0], resamples, seed)])
    chunk = max(1, _CELLS // max(_units(stratum) for stratum in strata))
    return np.concatenate(
        [
            statistic(*(_draw(random, stratum, min(chunk, resamples - start)) for stratum in strata))
            for start in range(0, resamples, chunk)
        ]
    )


def percentiles(values: Array) -> tuple[Array, Array]:
    """Both ends of the interval at `LEVEL`, from values `[resample, ...]`."""
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return low, high


def percentile_interval(values: Array) -> Interval:
    """The interval of a single statistic, `[resample]`; resamples in which it is NaN are ignored."""
    finite = values[~np.isnan(values)]
    if not len(finite):
        return NO_INTERVAL
    low, high = percentiles(finite)
    return Interval(float(low), float(high))


def mean_interval(values: Array) -> Interval:
    """Percentile bootstrap interval of a mean over problems; a single problem has none, nor have equal values.

    With fewer than ten problems, for which the bootstrap's interval is too short, it is Student's t interval. With more
    than `MANY` problems and more than a few distinct values, it is the limit of the bootstrap: the normal interval from
    the mean and its standard error.

    Args:
        values: One value per problem, `[problem]`.
    """
    distinct, counts = np.unique(values, return_counts=True)
    if len(distinct) < 2:  # noqa: PLR2004
        return NO_INTERVAL
    if len(values) < TOO_FEW:
        half = float(scipy.stats.t.ppf((1 + LEVEL) / 2, len(values) - 1) * scipy.stats.sem(values))
        return Interval(float(values.mean()) - half, float(values.mean()) + half)
    if len(distinct) <= _FEW:
        return percentile_interval(
            bootstrap(lambda drawn: drawn @ distinct / len(values), counts, resamples=MEAN_RESAMPLES)
        )
    if len(values) > MANY:
        return normal_interval(float(values.mean()), float(values.std() / np.sqrt(len(values))))
    return percentile_interval(
        bootstrap(lambda drawn: drawn @ values / len(values), len(values), resamples=MEAN_RESAMPLES)
    )


def normal_interval(estimate: float, error: float) -> Interval:
    """The normal interval of an estimate with this standard error."""
    half = float(scipy.stats.norm.ppf((1 + LEVEL) / 2)) * error
    return Interval(estimate - half, estimate + half)


@dataclass(frozen=True)
class Means:
    """Means over problems and their 95% intervals, all of one shape.

    Attributes:
        value: The means; NaN if no problem has a value.
        low: Lower ends of their intervals; NaN if there is none.
        high: Upper ends.
    """

    value: Array
    low: Array
    high: Array


def known_mean(values: Array, axis: int | tuple[int, ...]) -> Array:
    """The mean of the finite values; NaN if there are none."""
    finite = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        mean: Array = np.where(finite, values, 0.0).sum(axis=axis) / finite.sum(axis=axis)
    return mean


def means_over_problems(values: Array, seed: int = 0) -> Means:
    """Means over the first axis with their intervals, for many heads at once.

    Every column is resampled with the same draws, so that columns stay comparable. Problems without a value in a column
    are ignored in that column. With fewer than ten values, for which the bootstrap's interval is too short, a column's
    interval is Student's t interval. A single value has no interval.

    Args:
        values: `[problem, ...]`; NaN for a missing value.
        seed: Random seed.

    Returns:
        Means and ends of intervals, in the shape of one problem.
    """
    problems, shape = len(values), values.shape[1:]
    flat = values.reshape(problems, -1)
    finite = np.isfinite(flat)
    filled = np.where(finite, flat, 0.0)
    with np.errstate(invalid="ignore"):
        value = filled.sum(axis=0) / finite.sum(axis=0)
    low, high = np.full_like(value, np.nan), np.full_like(value, np.nan)
    if problems >= TOO_FEW:
        for start in range(0, flat.shape[1], _COLUMNS):
            columns = slice(start, start + _COLUMNS)
            low[columns], high[columns] = _mean_percentiles(filled[:, columns], finite[:, columns], seed)
    few = finite.sum(axis=0) < TOO_FEW
    if few.any():
        low[few], high[few] = _student_ends(filled[:, few], finite[:, few], value[few])
    return Means(value.reshape(shape), low.reshape(shape), high.reshape(shape))


def _mean_percentiles(filled: Array, finite: NDArray[np.bool_], seed: int) -> tuple[Array, Array]:
    with np.errstate(invalid="ignore"):
        drawn = bootstrap(lambda counts: counts @ filled / (counts @ finite), len(filled), seed=seed)
    # A resample without any value has no mean and is ignored; a column without any value has no interval.
    has_value = finite.any(axis=0)
    low, high = np.nanquantile(np.where(has_value, drawn, 0.0), [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return np.where(has_value, low, np.nan), np.where(has_value, high, np.nan)


def _student_ends(filled: Array, finite: NDArray[np.bool_], value: Array) -> tuple[Array, Array]:
    """Ends of Student's t intervals of means; NaN with a single value."""
    count = finite.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        variance = np.square(np.where(finite, filled - value, 0.0)).sum(axis=0) / (count - 1)
        half = scipy.stats.t.ppf((1 + LEVEL) / 2, count - 1) * np.sqrt(variance / count)
    half = np.where(count > 1, half, np.nan)
    return value - half, value + half


def _counts(stratum: int | NDArray[Any], resamples: int, seed: int) -> Iterator[Array]:
    """Counts of one stratum, one chunk of resamples at a time; counts that many statistics need are cached."""
    units = _units(stratum)
    chunk = max(1, _CELLS // units)
    if isinstance(stratum, int) and units > _FEW and units * resamples <= _CACHED_CELLS:
        cached = _cached_counts(stratum, resamples, seed)
        for start in range(0, resamples, chunk):
            yield cached[start : start + chunk].astype(np.float64)
        return
    random = np.random.default_rng(seed)
    for start in range(0, resamples, chunk):
        yield _draw(random, stratum, min(chunk, resamples - start))


@lru_cache(maxsize=2)
def _cached_counts(units: int, resamples: int, seed: int) -> NDArray[np.uint16]:
    random, chunk = np.random.default_rng(seed), max(1, _CELLS // units)
    sizes = (min(chunk, resamples - start) for start in range(0, resamples, chunk))
    return np.concatenate([_draw(random, units, size).astype(np.uint16) for size in sizes])


def _draw(random: np.random.Generator, stratum: int | NDArray[Any], resamples: int) -> Array:
    """Counts in this many resamples, `[resample, unit]`."""
    units = _units(stratum)
    if not isinstance(stratum, int):
        total = int(stratum.sum())
        return random.multinomial(total, stratum / total, size=resamples).astype(np.float64)
    if units <= _FEW:
        return random.multinomial(units, np.full(units, 1 / units), size=resamples).astype(np.float64)
    drawn = random.integers(0, units, size=(resamples, units)) + np.arange(resamples)[:, None] * units
    return np.bincount(drawn.ravel(), minlength=resamples * units).reshape(resamples, units).astype(np.float64)


def _units(stratum: int | NDArray[Any]) -> int:
    return stratum if isinstance(stratum, int) else len(stratum)
