"""The tasks that Ray runs: submitting them, collecting what they tell, and resuming those that were lost."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import ray
from ray import exceptions
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from kdprobe import KdprobeError
from kdprobe.experiment import Ended, Said, Task, as_message
from kdprobe_ray.cluster import fits, has_gpus
from kdprobe_ray.remote import THREADS, Mailbox, run_stage

_LOST = (
    exceptions.WorkerCrashedError,
    exceptions.NodeDiedError,
    exceptions.LocalRayletDiedError,
    exceptions.OutOfMemoryError,
    exceptions.ObjectLostError,
)
"""The process or the machine was lost, which is not the stage's fault."""
Event = tuple[str, list[Any]]
"""The key of a task, and a message."""


@dataclass
class _Running:
    """A task on its way.

    Attributes:
        data: The task, as data.
        needs: What it asks for, as Ray names it.
        losses: How often it was lost.
    """

    data: dict[str, Any]
    needs: dict[str, Any]
    losses: int = 0

    @property
    def task(self) -> Task:
        return Task.from_data(self.data)


class Tasks:
    """Tasks of one run; false if none is on its way.

    Args:
        job: The run, from `Job.as_data`. Ray passes it from process to process and logs none of it.
        options: The options of the executor, by name.
    """

    def __init__(self, job: Mapping[str, Any], options: Mapping[str, Any]) -> None:
        self._job, self._options = job, options
        self._running: dict[Any, _Running] = {}
        self._told: list[Event] = []
        # Ray resumes nothing by itself, so that every loss is counted and reported.
        settings: dict[str, Any] = {"max_retries": 0}
        if has_gpus():
            # A process that has used torch cannot be given another GPU, or none.
            settings["max_calls"] = 1
        self._run = ray.remote(**settings)(run_stage)
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        boxes = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1, scheduling_strategy=here)
        self._mailbox = boxes(Mailbox).remote()

    def __bool__(self) -> bool:
        return bool(self._running)

    def submit(self, data: dict[str, Any], needs: dict[str, Any]) -> None:
        """Submits a task."""
        entry = _Running(data, needs)
        if not fits(needs):
            missing = _words(needs)
            if self._options["address"] is None:
                error = KdprobeError(
                    f"{entry.task.label} needs {missing}, more than this machine has.",
                    "Change [resources] or the executor's options, or join a larger cluster.",
                )
                self._tell(entry, as_message(Ended(error=error)))
                return
            text = (
                f"{entry.task.label} needs {missing}, more than any node of the cluster has; waiting for a larger node "
                "to join."
            )
            self._tell(entry, as_message(Said(text, warning=True)))
        self._send(entry)

    def events(self, seconds: float) -> Iterator[Event]:
        """What happened, waiting for it at most this long."""
        ready, _ = ray.wait([*self._running], timeout=seconds) if self._running else ([], [])
        # A stage has put everything that matters into the mailbox before it ends.
        waiting = {entry.data["key"] for entry in self._running.values()}
        for key, message in ray.get(self._mailbox.take.remote()) if waiting else ():
            if key in waiting:
                yield key, message
        for reference in ready:
            entry = self._running.pop(reference)
            self._tell(entry, self._outcome(reference, entry))
        told, self._told = self._told, []
        yield from ((key, message) for key, message in told if message)

    def cancel(self) -> None:
        """Cancels everything and leaves the cluster; one that this process started ends."""
        for reference in self._running:
            ray.cancel(reference, force=True)
        self._running.clear()
        ray.kill(self._mailbox)
        ray.shutdown()

    def _send(self, entry: _Running) -> None:
        run = self._run.options(name=entry.task.label, **entry.needs)
        self._running[run.remote(self._job, entry.data, self._mailbox, os.environ.get(THREADS))] = entry

    def _tell(self, entry: _Running, message: list[Any]) -> None:
        self._told.append((entry.data["key"], message))

    def _outcome(self, reference: Any, entry: _Running) -> list[Any]:
        label = entry.task.label
        try:
            message: list[Any] = ray.get(reference)
        except _LOST as error:
            return self._lost(entry, error)
        except Exception as error:  # noqa: BLE001 - whatever it is, it becomes a sentence
            what = " ".join(str(error).strip().splitlines()[-1:]) or type(error).__name__
            return as_message(
                Ended(
                    error=KdprobeError(
                        f"Ray could not run {label}: {what}",
                        "Install the same versions of kdprobe, kdprobe-ray and other plugins on every machine.",
                    )
                )
            )
        return message

    def _lost(self, entry: _Running, error: Exception) -> list[Any]:
        entry.losses += 1
        label, retries = entry.task.label, self._options["retries"]
        why = " because memory ran out" if isinstance(error, exceptions.OutOfMemoryError) else ""
        if entry.losses <= retries:
            self._send(entry)
            text = (
                f"The process or machine running {label} was lost{why}. Resuming the stage (retry {entry.losses} "
                f"of {retries})."
            )
            return as_message(Said(text))
        times = f" {entry.losses} times{', most recently' if why else ''}" if entry.losses > 1 else ""
        return as_message(
            Ended(
                error=KdprobeError(
                    f"The process or machine running {label} was lost{times}{why}.",
                    "Check how much memory that machine has. Saved work is kept: rerun the same command to resume.",
                )
            )
        )


def _words(needs: Mapping[str, Any]) -> str:
    gpus, memory = needs["num_gpus"], needs.get("memory")
    parts = [_counted(needs["num_cpus"], "CPU")]
    parts += [_counted(gpus, "GPU")] if gpus else []
    parts += [f"{memory / 2**30:g} GiB of memory"] if memory else []
    *others, last = parts
    return f"{', '.join(others)} and {last}" if others else last


def _counted(count: float, unit: str) -> str:
    return f"{count:g} {unit if count == 1 else f'{unit}s'}"
