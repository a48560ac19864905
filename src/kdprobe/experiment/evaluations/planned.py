"""The tasks of an experiment besides the deciding one, and their stages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kdprobe.errors import UsageError
from kdprobe.experiment.config import Experiment
from kdprobe.experiment.evaluations.plugged import named_task
from kdprobe.experiment.stages.context import StageContext
from kdprobe.experiment.stages.stage import Stage
from kdprobe.host.registry import Host
from kdprobe.students.student import Student

if TYPE_CHECKING:
    from kdprobe.evaluation.tasks.load import DrawnTask


def planned_tasks(experiment: Experiment, host: Host) -> list[DrawnTask]:
    """Loads the tasks of an experiment besides the deciding one, with their data.

    Args:
        experiment: The experiment.
        host: The plugins, which may provide tasks.

    Raises:
        UsageError: There is no such task, it has fewer documents than its limit, or nothing to compare students with.
        KdprobeError: Its data cannot be loaded.
    """
    configs = experiment.evaluation.benchmarks
    if not configs:
        return []
    if not experiment.controls.untrained and any(config.role == "retention" for config in configs):
        raise UsageError(
            "Retention is measured against the untrained student, which this experiment leaves out.",
            'Set untrained = true in [controls], or set role = "also" for these tasks.',
        )
    return [named_task(config, experiment.evaluation.folders, host) for config in configs]


def arm_tasks(
    context: StageContext, student: Student, distill: Stage | None, tasks: Sequence[DrawnTask]
) -> dict[str, Stage]:
    """The stage of each task, by its name.

    Args:
        context: The experiment.
        student: The student, without its adapter.
        distill: Its training, or `None` for the untrained base.
        tasks: The tasks.
    """
    if not tasks:
        return {}
    from kdprobe.experiment.stages.task import task_stage

    return {task.name: task_stage(context, student, distill, task) for task in tasks}
