"""How well a student calculates, whether or not it solves the problems: the share of correct steps over many answers.

An endpoint for students whose accuracies are at the floor. It covers only answers that calculate at all, so the number
of answers without a step is always reported with it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kdprobe.comparison.samples.by_problem import sums_by_problem
from kdprobe.problems.arithmetic import Arithmetic
from kdprobe.stats.intervals import Interval
from kdprobe.stats.pooled_shares import pooled_share, pooled_share_difference_interval, pooled_share_interval

StepCounts = NDArray[np.float64]
"""Steps and correct steps of each answer, `[answers, 2]`."""


@dataclass(frozen=True)
class StepAccuracy:
    """The arithmetic of one student's answers.

    Attributes:
        answers: Number of answers.
        silent: Number of answers without a step.
        steps: Number of steps in all answers, repeated steps of an answer counted once.
        right: Number of correct steps.
        share: Share of correct steps; NaN if there are no steps.
        interval: Interval of the share, by bootstrap over problems, because the steps of one answer are not
            independent. There is none if fewer than two problems have a step.
    """

    answers: int
    silent: int
    steps: int
    right: int
    share: float
    interval: Interval


@dataclass(frozen=True)
class StepAccuracyDifference:
    """The difference between two students on the same problems: share of a minus share of b, by paired bootstrap."""

    difference: float
    interval: Interval

    @property
    def known(self) -> bool:
        """Whether both students have any steps."""
        return not math.isnan(self.difference)


def step_accuracy(answers: Sequence[Arithmetic] | StepCounts, problems: Sequence[str] | None = None) -> StepAccuracy:
    """Summarises the answers of one student.

    Args:
        answers: All answers, including those without steps.
        problems: The problem of each answer, if problems have several.
    """
    counts = step_counts(answers)
    steps, right = (int(column.sum()) for column in counts.T)
    return StepAccuracy(
        answers=len(counts),
        silent=int((counts[:, 0] == 0).sum()),
        steps=steps,
        right=right,
        share=pooled_share(counts),
        interval=pooled_share_interval(sums_by_problem(counts, problems)),
    )


def step_accuracy_difference(
    a: Sequence[Arithmetic] | StepCounts, b: Sequence[Arithmetic] | StepCounts
) -> StepAccuracyDifference:
    """Compares two students on the same problems, in the same order."""
    if len(a) != len(b):
        raise ValueError("the students answered different numbers of problems")
    left, right = step_counts(a), step_counts(b)
    return StepAccuracyDifference(
        pooled_share(left) - pooled_share(right), pooled_share_difference_interval(left, right)
    )


def step_counts(answers: Sequence[Arithmetic] | StepCounts) -> StepCounts:
    """Steps and correct steps of each answer."""
    if isinstance(answers, np.ndarray):
        return answers
    return np.array([(answer.steps, answer.right) for answer in answers], dtype=float).reshape(-1, 2)
