"""Compares the students of a run on its tasks besides the deciding one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kdprobe.comparison.arms import group_of
from kdprobe.comparison.tasks.result import TaskComparison, TaskStudents, compare_tasks
from kdprobe.comparison.tasks.scores import read_documents
from kdprobe.experiment.arm_results import ArmResults


def task_comparison(arms: Sequence[ArmResults], tasks: Sequence[Mapping[str, Any]]) -> TaskComparison | None:
    """Scores of all students on all tasks, and what they retained; `None` if the run has no other tasks.

    Args:
        arms: The arms of the run.
        tasks: The tasks in the run's config.
    """
    students = [_students(arms, task) for task in tasks if task["role"] != "decides"]
    return compare_tasks(students) if students else None


def _students(arms: Sequence[ArmResults], task: Mapping[str, Any]) -> TaskStudents:
    name = task["name"]
    taught = {arm.name: read_documents(arm.tasks[name], arm.name, name) for arm in arms if name in arm.tasks}
    untrained = next((arm.name for arm in arms if arm.strategy is None and arm.distiller is None), "")
    return TaskStudents(
        name,
        task["role"],
        task["margin"] if task["role"] == "retention" else None,
        base=taught.pop(untrained, None),
        taught=taught,
        groups={arm.name: group_of(arm.name, arm.strategy, arm.seed) for arm in arms},
    )
