"""What an executor is: it runs the stages that it is given, here or elsewhere, and reports their outcomes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, Self, runtime_checkable

from kdprobe.console.relay import Progressed, Said
from kdprobe.models.outline.resources import ANY, Resources

LOCAL = "local"
"""The built-in executor."""


@dataclass(frozen=True)
class Task:
    """A stage to run, whose inputs are finished.

    Attributes:
        key: Its key; every process must compute the same one.
        kind: `transfer`, `select`, `distill`, `evaluate`, `task` or `analyse`.
        name: Its name in this run.
        resources: The threads and the device that it was planned for.
        settings: What its key was computed from, besides its inputs, so that a difference can be named.
    """

    key: str
    kind: str
    name: str
    resources: Resources = ANY
    settings: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        """Rebuilds a task from its `dataclasses.asdict`."""
        return cls(**{**data, "resources": Resources(**data["resources"])})

    @property
    def label(self) -> str:
        """Kind and name."""
        return f"{self.kind} {self.name}"


@dataclass(frozen=True)
class Ended:
    """The outcome of a stage.

    Attributes:
        made: Whether it had to be run, that is, was not finished before.
        error: What prevented it, or `None`.
    """

    made: bool = False
    error: BaseException | None = None


Report = Callable[[Task, Said | Progressed | Ended], None]
"""Receives a task's messages and progress, any number of times, and finally its outcome; from any thread."""


class Job(Protocol):
    """The run that stages belong to."""

    def as_data(self) -> dict[str, Any]:
        """Everything that `make_stage` needs to run its stages in another process, ready for JSON.

        It contains the config with its secrets, so it must not be written to a disk that others can read.

        Raises:
            UsageError: The run uses functions of this process, which no other process has.
        """

    def make(self, task: Task) -> bool:
        """Runs a stage in this process; returns whether it had to be run."""


@runtime_checkable
class Executor(Protocol):
    """Runs stages.

    Every submitted task ends with one `Ended`, whatever happens to the process that ran it. A stage is run with
    `make_stage`, which writes it to the store, so the store must be a folder that all processes share.
    """

    def start(self, job: Job, jobs: int | None, report: Report) -> None:
        """Prepares to run stages.

        Args:
            job: The run that they belong to.
            jobs: How many may run at the same time, as requested by the user; `None` leaves that to the executor.
            report: Receives what tasks report.

        Raises:
            KdprobeError: It cannot run stages; the message says why.
        """

    def submit(self, task: Task) -> None:
        """Runs a task now or later, and returns without waiting for it, unless it runs in this process."""

    def stop(self) -> None:
        """Stops all running tasks and releases all resources; finished stages are in the store."""
