"""Students on several tasks: their scores, what they retained, and the verdict on both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kdprobe.comparison.tasks.retention import TaskChange, judged, strategy_change, student_change
from kdprobe.comparison.tasks.scores import Documents, TaskScore, task_score
from kdprobe.comparison.tasks.verdict import task_verdict
from kdprobe.stats.least import FEWEST_SEEDS


@dataclass(frozen=True)
class TaskStudents:
    """The students of an experiment on one task.

    Attributes:
        task: The task, group or tag.
        role: `also` or `retention`.
        margin: The largest loss that counts as retained; `None` if the task is only reported.
        base: The untrained student, or `None` if it was not evaluated.
        taught: All others, by name.
        groups: The strategy (or control) of each student, by name.
    """

    task: str
    role: str
    margin: float | None
    base: Documents | None
    taught: Mapping[str, Documents]
    groups: Mapping[str, str]


@dataclass(frozen=True)
class TaskComparison:
    """Students on tasks besides the deciding one.

    Attributes:
        scores: The score of each student on each task.
        changes: The change of each student, or of each strategy where all have enough seeds, against the untrained
            student.
        roles: The role of each task.
        verdict: What was retained and what was lost, in sentences.
    """

    scores: list[TaskScore]
    changes: list[TaskChange]
    roles: dict[str, str]
    verdict: list[str]


def compare_tasks(tasks: Sequence[TaskStudents]) -> TaskComparison:
    """Compares students with the untrained one on each task, document by document.

    Strategies are compared in place of their students where each has three seeds or more.

    Raises:
        KdprobeError: Students were evaluated on different documents, or on the same ones with different prompts.
    """
    scores, changes = [], []
    for task in tasks:
        scores += [task_score(one) for one in ([task.base] if task.base else []) + [*task.taught.values()]]
        if task.base is None:
            continue
        members: dict[str, list[Documents]] = {}
        for name, documents in task.taught.items():
            members.setdefault(task.groups[name], []).append(documents)
        if members and min(map(len, members.values())) >= FEWEST_SEEDS:
            changes += [strategy_change(name, one, task.base, task.margin) for name, one in members.items()]
        else:
            changes += [student_change(one, task.base, task.margin) for one in task.taught.values()]
    found = judged(changes)
    return TaskComparison(scores, found, {task.task: task.role for task in tasks}, task_verdict(found))
