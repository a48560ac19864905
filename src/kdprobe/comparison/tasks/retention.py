"""What a student kept of a task outside of its training, measured against the untrained student.

Students are compared document by document. *Retained* is claimed only if the one-sided 95% lower bound of the change
is above the negative margin. *Lost* is claimed only if the upper bound is below 0, and the one-sided p-value, adjusted
over all retention tasks and students (Holm), is below 5%. Everything else is *not shown*: neither was.

A strategy is compared over its students of several seeds and over documents, both of which are samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kdprobe.comparison.tasks.scores import Documents
from kdprobe.errors import KdprobeError
from kdprobe.stats.p_values import SIGNIFICANT, holm
from kdprobe.stats.paired import PairedChange, paired_change, seeds_change

Outcome = Literal["retained", "lost", "not shown"]


@dataclass(frozen=True)
class TaskChange:
    """How a student, or a strategy, differs from the untrained student on a task.

    Attributes:
        task: The task, group or tag.
        metric: The metric that scores a document.
        unit: The unit of the change: `points` for metrics of right and wrong (as a share: 0.02 is 2 points), `nats` for
            log-likelihoods, or nothing.
        a: The student or strategy.
        b: The student that it is compared with.
        seeds: The number of students of a.
        test: The change, a minus b, signed so that a loss is negative, with its one-sided bounds.
        margin: The largest loss that still counts as retained; `None` if the task is only reported.
        p_holm: One-sided p-value of a loss, adjusted over all retention tasks and students; `None` if only reported.
    """

    task: str
    metric: str
    unit: str
    a: str
    b: str
    seeds: int
    test: PairedChange
    margin: float | None
    p_holm: float | None = None

    @property
    def change(self) -> float:
        """The score of a minus that of b, signed so that a loss is negative."""
        return self.test.change

    @property
    def outcome(self) -> Outcome | None:
        """`retained`, `lost` or `not shown`; `None` if the task is only reported.

        A loss that is certain but smaller than the margin is both; it is called lost.
        """
        if self.margin is None or self.p_holm is None:
            return None
        if self.p_holm < SIGNIFICANT and self.test.high < 0:
            return "lost"
        return "retained" if self.test.low > -self.margin else "not shown"


def student_change(student: Documents, base: Documents, margin: float | None = None) -> TaskChange:
    """The change of one student on the documents that both were evaluated on.

    Args:
        student: The student.
        base: The student that it is compared with.
        margin: The largest loss that counts as retained; `None` if the task is only reported.

    Raises:
        KdprobeError: They were evaluated on different documents, or on the same ones with different prompts.
    """
    test = paired_change(_differences(student, base), _weights(base))
    return TaskChange(
        student.task, student.metric, _unit(student, base), student.student, base.student, 1, test, margin
    )


def strategy_change(
    name: str, students: Sequence[Documents], base: Documents, margin: float | None = None
) -> TaskChange:
    """The change of a strategy over its students of three seeds or more; the rest as in `student_change`."""
    differences = np.array([_differences(student, base) for student in students])
    test, unit = seeds_change(differences, _weights(base)), _unit(*students, base)
    return TaskChange(base.task, base.metric, unit, name, base.student, len(students), test, margin)


def judged(changes: Sequence[TaskChange]) -> list[TaskChange]:
    """The changes with p-values adjusted over all those on retention tasks."""
    retention = [index for index, change in enumerate(changes) if change.margin is not None]
    adjusted = dict(zip(retention, holm([changes[index].test.p_lower for index in retention]), strict=True))
    return [replace(change, p_holm=adjusted.get(index)) for index, change in enumerate(changes)]


def _unit(*students: Documents) -> str:
    """The unit of all students, if it is one."""
    units = {student.unit for student in students}
    return units.pop() if len(units) == 1 else ""


def _weights(documents: Documents) -> NDArray[np.float64] | None:
    return None if (documents.weights == 1).all() else documents.weights


def _differences(a: Documents, b: Documents) -> NDArray[Any]:
    """The difference on each document, signed so that a loss is negative."""
    if a.keys != b.keys or a.metric != b.metric:
        raise KdprobeError(
            f"{a.student} and {b.student} were not evaluated on the same documents of {a.task!r}.",
            "Evaluate them with the same task, limit and seed.",
        )
    if a.prompts != b.prompts:
        raise KdprobeError(
            f"{a.student} and {b.student} were evaluated on {a.task!r} with different prompts.",
            "Evaluate them with the same chat template and the same examples.",
        )
    return (1.0 if a.higher_is_better else -1.0) * (a.scores - b.scores)
