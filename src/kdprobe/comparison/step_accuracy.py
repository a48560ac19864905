"""How well a student calculates, whatever it makes of the problems: the share of right steps, over many answers.

An endpoint for students whose accuracies are at the floor. It covers only the answers that calculate at all, so the
number of those that do not is always reported with it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kdprobe.problems.arithmetic import Arithmetic
from kdprobe.stats.bootstrap import bootstrap, percentile_interval
from kdprobe.stats.intervals import Interval

_RESAMPLES = 5_000


@dataclass(frozen=True)
class StepAccuracy:
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
class StepAccuracyDifference:
    """Two students on the same problems: share of a minus share of b, in points of 1, by paired bootstrap."""

    difference: float
    interval: Interval

    @property
    def known(self) -> bool:
        """Whether both state any step."""
        return not math.isnan(self.difference)


def step_accuracy(answers: Sequence[Arithmetic]) -> StepAccuracy:
    """Sums up the answers of one student.

    Args:
        answers: One per problem, those without steps included.
    """
    counts = _counts(answers)
    steps, right = (int(column.sum()) for column in counts.T)
    return StepAccuracy(
        answers=len(answers),
        silent=sum(not answer.steps for answer in answers),
        steps=steps,
        right=right,
        share=right / steps if steps else float("nan"),
        interval=_interval(counts),
    )


def step_accuracy_difference(a: Sequence[Arithmetic], b: Sequence[Arithmetic]) -> StepAccuracyDifference:
    """Compares two students on the same problems, in the same order."""
    if len(a) != len(b):
        raise ValueError("the students answered different numbers of problems")
    left, right = _counts(a), _counts(b)
    difference = _shares(left.sum(axis=0)) - _shares(right.sum(axis=0))
    return StepAccuracyDifference(float(difference), _interval(left, right))


def _counts(answers: Sequence[Arithmetic]) -> NDArray[np.float64]:
    """Steps and right steps, `[answers, 2]`."""
    return np.array([(answer.steps, answer.right) for answer in answers], dtype=float).reshape(-1, 2)


def _shares(totals: NDArray[np.float64]) -> NDArray[np.float64]:
    """Right steps of all, `[...]`, from totals `[..., 2]`; not a number where there are no steps."""
    steps, right = totals[..., 0], totals[..., 1]
    shares: NDArray[np.float64] = np.divide(right, steps, out=np.full_like(right, np.nan), where=steps > 0)
    return shares


def _interval(*counts: NDArray[np.float64]) -> Interval:
    """Of the share of right steps of one student, or of the difference of two; the same problems are drawn for both.

    Resamples without any step have no share and are left out.

    Args:
        *counts: Steps and right steps of each student, `[answers, 2]`.
    """

    def share(drawn: NDArray[np.float64]) -> NDArray[np.float64]:
        first, *others = (_shares(drawn @ student) for student in counts)
        return first - others[0] if others else first

    return percentile_interval(bootstrap(share, len(counts[0]), resamples=_RESAMPLES))
