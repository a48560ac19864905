"""How well a student calculates, whatever it makes of the problems: the share of right steps, over many answers.

An endpoint for students whose accuracies are at the floor. It speaks of those answers that calculate at all, so how
many do not is always told with it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from kdprobe.evaluation.statistics import LEVEL, Interval
from kdprobe.problems.arithmetic import Arithmetic

_RESAMPLES = 5_000
_CHUNK = 500


@dataclass(frozen=True)
class Validity:
    """The arithmetic of one student's answers.

    Attributes:
        answers: How many there are.
        silent: How many of them state no step.
        steps: Different steps of all answers together.
        right: How many of them are right.
        share: Right steps of all steps; not a number where there are none.
        interval: Of the share, by bootstrap over problems: the steps of one answer are not independent.
    """

    answers: int
    silent: int
    steps: int
    right: int
    share: float
    interval: Interval


@dataclass(frozen=True)
class ValidityDifference:
    """Two students on the same problems: share of a minus share of b, in points of 1, by paired bootstrap."""

    difference: float
    interval: Interval

    @property
    def known(self) -> bool:
        """Whether both state any step."""
        return not math.isnan(self.difference)


def validity(answers: Sequence[Arithmetic]) -> Validity:
    """Sums up the answers of one student.

    Args:
        answers: One per problem, those without steps included.
    """
    counts = _counts(answers)
    steps, right = (int(column.sum()) for column in counts.T)
    return Validity(
        answers=len(answers),
        silent=sum(not answer.steps for answer in answers),
        steps=steps,
        right=right,
        share=right / steps if steps else float("nan"),
        interval=_interval(_shares(_resampled(counts))),
    )


def validity_difference(a: Sequence[Arithmetic], b: Sequence[Arithmetic]) -> ValidityDifference:
    """Compares two students on the same problems, in the same order."""
    if len(a) != len(b):
        raise ValueError("the students answered different numbers of problems")
    left, right = _counts(a), _counts(b)
    difference = _shares(left.sum(axis=0)) - _shares(right.sum(axis=0))
    # The same problems are drawn for both.
    return ValidityDifference(float(difference), _interval(_shares(_resampled(left)) - _shares(_resampled(right))))


def _counts(answers: Sequence[Arithmetic]) -> NDArray[np.float64]:
    """Steps and right steps, `[answers, 2]`."""
    return np.array([(answer.steps, answer.right) for answer in answers], dtype=float).reshape(-1, 2)


def _shares(totals: NDArray[np.float64]) -> NDArray[np.float64]:
    """Right steps of all, `[...]`, from totals `[..., 2]`; not a number where there are no steps."""
    steps, right = totals[..., 0], totals[..., 1]
    shares: NDArray[np.float64] = np.divide(right, steps, out=np.full_like(right, np.nan), where=steps > 0)
    return shares


def _resampled(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Totals in resamples of problems, `[resamples, 2]`."""
    drawn = _drawn(len(counts))
    return np.concatenate([drawn[start : start + _CHUNK] @ counts for start in range(0, _RESAMPLES, _CHUNK)])


@lru_cache(maxsize=1)
def _drawn(n: int) -> NDArray[np.uint8]:
    """How often each of n problems is drawn, `[resamples, n]`: the same for all students, and drawn once for them."""
    random = np.random.default_rng(0)
    rows = np.arange(_CHUNK)[:, None] * n
    chunks = (random.integers(0, max(n, 1), size=(_CHUNK, n)) + rows for _ in range(_RESAMPLES // _CHUNK))
    times = [np.bincount(chunk.ravel(), minlength=_CHUNK * n).reshape(_CHUNK, n).astype(np.uint8) for chunk in chunks]
    return np.concatenate(times)


def _interval(resampled: NDArray[np.float64]) -> Interval:
    """Percentiles; resamples without any step have no share and are left out."""
    known = resampled[~np.isnan(resampled)]
    if not len(known):
        return Interval(float("nan"), float("nan"))
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high))
