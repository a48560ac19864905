"""What a student kept of a task outside of its training, measured against the untrained student.

Students are compared document by document. *Retained* is claimed only if the one-sided 95% lower bound of the change
lies above minus the margin. *Lost* is claimed only if the one-sided p-value, adjusted over all retention tasks and
students (Holm), is below 5%; for a single comparison this means that the upper bound lies below 0. Everything else is
*not shown*: neither was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from kdprobe.comparison.tasks.scores import Documents
from kdprobe.errors import KdprobeError
from kdprobe.stats.p_values import SIGNIFICANT, holm
from kdprobe.stats.paired import PairedChange, paired_change

Outcome = Literal["retained", "lost", "not shown"]


@dataclass(frozen=True)
class TaskChange:
    """How a student differs from another on a task.

    Attributes:
        task: The task, group or tag.
        metric: The metric that scores a document.
        a: The student.
        b: The student that it is compared with.
        change: The score of a minus that of b, signed so that a loss is negative.
        test: The one-sided bounds of the change.
        margin: The largest loss that still counts as retained; `None` if the task is only reported.
        p_holm: One-sided p-value of a loss, adjusted over all retention tasks and students; `None` if only reported.
    """

    task: str
    metric: str
    a: str
    b: str
    test: PairedChange
    margin: float | None
    p_holm: float | None

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


def changes_against(base: Documents, others: Sequence[Documents]) -> list[tuple[Documents, PairedChange]]:
    """The change of each student against another on the same documents.

    Raises:
        KdprobeError: The students were asked different documents, or the same ones with different prompts.
    """
    return [(other, _change(other, base)) for other in others]


def task_changes(tasks: Sequence[tuple[Documents, Sequence[Documents], float | None]]) -> list[TaskChange]:
    """The changes on several tasks.

    Args:
        tasks: For each task the documents of the student that others are compared with, those of the others, and the
            margin, or `None` if the task is only reported.
    """
    found = [
        (base, other, change, margin)
        for base, others, margin in tasks
        for other, change in changes_against(base, others)
    ]
    judged = [index for index, (_, _, _, margin) in enumerate(found) if margin is not None]
    adjusted = dict(zip(judged, holm([found[index][2].p_lower for index in judged]), strict=True))
    return [
        TaskChange(other.task, other.metric, other.student, base.student, change, margin, adjusted.get(index))
        for index, (base, other, change, margin) in enumerate(found)
    ]


def _change(a: Documents, b: Documents) -> PairedChange:
    if a.keys != b.keys or a.metric != b.metric:
        raise KdprobeError(
            f"{a.student} and {b.student} were not asked the same documents of {a.task!r}.",
            "Evaluate them with the same task, limit and seed.",
        )
    if a.prompts != b.prompts:
        raise KdprobeError(
            f"{a.student} and {b.student} were asked the documents of {a.task!r} with different prompts.",
            "Evaluate them with the same chat template and the same examples.",
        )
    sign = 1.0 if a.higher_is_better else -1.0
    equal = bool((a.weights == 1).all())
    return paired_change(sign * (a.scores - b.scores), None if equal else np.asarray(a.weights))
