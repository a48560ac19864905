"""Compares the students of a run on its tasks besides the deciding one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kdprobe.comparison.tasks.result import TaskComparison, TaskStudents, compare_tasks
from kdprobe.comparison.tasks.scores import read_documents
from kdprobe.experiment.arm_results import ArmResults
from kdprobe.experiment.evaluations.config import RETENTION_MARGIN


def task_comparison(arms: Sequence[ArmResults], tasks: Sequence[Mapping[str, Any]]) -> TaskComparison | None:
    """Scores of all students on all tasks, and what they retained; `None` if the run has no other tasks.

    Args:
        arms: The arms of the run.
        tasks: The tasks in the run's config.
    """
    students = [
        TaskStudents(
            task["name"],
            task["role"],
            task.get("margin", RETENTION_MARGIN) if task["role"] == "retention" else None,
            base=next(
                (
                    read_documents(arm.tasks[task["name"]], arm.name, task["name"])
                    for arm in arms
                    if _is_untrained(arm) and task["name"] in arm.tasks
                ),
                None,
            ),
            taught={
                arm.name: read_documents(arm.tasks[task["name"]], arm.name, task["name"])
                for arm in arms
                if not _is_untrained(arm) and task["name"] in arm.tasks
            },
            groups={arm.name: arm.strategy or arm.distiller or arm.name for arm in arms},
        )
        for task in tasks
        if task["role"] != "decides"
    ]
    return compare_tasks(students) if students else None


def _is_untrained(arm: ArmResults) -> bool:
    return arm.strategy is None and arm.distiller is None
