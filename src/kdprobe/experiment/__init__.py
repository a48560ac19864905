"""Experiments: a config becomes a graph of content-addressed stages in a store; a rerun resumes."""

from typing import TYPE_CHECKING

from kdprobe.lazy import lazy_exports

if TYPE_CHECKING:
    from kdprobe.experiment.executors.executor import Ended, Executor, Job, Report, Task
    from kdprobe.experiment.executors.job import make_stage
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "kdprobe.experiment.executors.executor": ["Ended", "Executor", "Job", "Report", "Task"],
            "kdprobe.experiment.executors.job": ["make_stage"],
        },
    )

__all__ = ["Ended", "Executor", "Job", "Report", "Task", "make_stage"]
