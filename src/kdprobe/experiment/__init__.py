"""Experiments: a config becomes a graph of content-addressed stages in a store; a rerun resumes."""

from typing import TYPE_CHECKING

from kdprobe.lazy import lazy_exports

if TYPE_CHECKING:
    from kdprobe.console.relay import Progressed, Said
    from kdprobe.experiment.executors.child import Child, in_child
    from kdprobe.experiment.executors.executor import Ended, Executor, Job, Report, Task
    from kdprobe.experiment.executors.job import make_stage
    from kdprobe.experiment.executors.wire import as_message, end_of, event_from
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "kdprobe.console.relay": ["Progressed", "Said"],
            "kdprobe.experiment.executors.child": ["Child", "in_child"],
            "kdprobe.experiment.executors.executor": ["Ended", "Executor", "Job", "Report", "Task"],
            "kdprobe.experiment.executors.job": ["make_stage"],
            "kdprobe.experiment.executors.wire": ["as_message", "end_of", "event_from"],
        },
    )

__all__ = [
    "Child",
    "Ended",
    "Executor",
    "Job",
    "Progressed",
    "Report",
    "Said",
    "Task",
    "as_message",
    "end_of",
    "event_from",
    "in_child",
    "make_stage",
]
