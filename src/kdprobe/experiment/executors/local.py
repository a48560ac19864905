"""The executor `local`: stages one after the other in this process, or side by side in worker processes."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from threading import Lock
from typing import Any

from kdprobe.console import note
from kdprobe.errors import KdprobeError, UsageError
from kdprobe.experiment.executors.child import Child
from kdprobe.experiment.executors.executor import Ended, Job, Report, Task
from kdprobe.experiment.executors.wire import Message, event_from
from kdprobe.models.outline.device import default_device, thread_count
from kdprobe.words import counted

_STOP_SECONDS = 5.0
_GPUS = "CUDA_VISIBLE_DEVICES"


class LocalExecutor:
    """Runs stages on this machine. Workers stay until the end, and keep what they have loaded."""

    def __init__(self) -> None:
        self._workers: list[_Worker] = []

    def start(self, job: Job, jobs: int | None, report: Report) -> None:
        """Prepares; arguments as in `Executor`."""
        self._job, self._report, self._jobs = job, report, jobs or 1
        self._noted = False
        self._data = job.as_data() if self._jobs > 1 else None
        if self._data is None:
            return
        if os.name != "posix":
            raise KdprobeError("Running several stages at the same time requires Linux or macOS.", "Leave out --jobs.")
        self._gpus = _visible_gpus()
        _refuse_spreading(self._data["experiment"], self._gpus)

    def submit(self, task: Task) -> None:
        """Runs a task in this process, or has an idle worker run it."""
        if not self._noted:
            _note_load(task, self._jobs)
            self._noted = True
        if self._data is None:
            self._report(task, self._made_here(task))
            return
        if not any(worker.run(task) for worker in self._workers):
            gpu = self._gpus[len(self._workers) % len(self._gpus)] if self._gpus else None
            self._workers.append(_Worker(self._data, self._report, {_GPUS: gpu} if gpu else {}))
            self._workers[-1].run(task)

    def stop(self) -> None:
        """Stops all workers."""
        for worker in self._workers:
            worker.stop()
        self._workers = []

    def _made_here(self, task: Task) -> Ended:
        try:
            return Ended(self._job.make(task))
        except Exception as error:  # noqa: BLE001 - the run raises it again
            return Ended(error=error)


class _Worker:
    """A worker process, and what it runs."""

    def __init__(self, job: Mapping[str, Any], report: Report, environment: Mapping[str, str]) -> None:
        self._task: Task | None = None
        self._dead = False
        self._lock = Lock()
        self._report = report
        self._child = Child("kdprobe.experiment.executors.worker", job, environment)
        self._child.listen(self._hear, self._ended)

    def run(self, task: Task) -> bool:
        """Has it run a task, unless it is busy or dead; returns whether it does."""
        with self._lock:
            if self._task or self._dead:
                return False
            self._task = task
        self._child.send(asdict(task))
        return True

    def stop(self) -> None:
        """Stops it in the middle of whatever it does."""
        with self._lock:
            self._task = None
        self._child.terminate(_STOP_SECONDS)

    def _hear(self, message: Message) -> None:
        if (task := self._task) is None:
            return
        event = event_from(message)
        if isinstance(event, Ended):
            # Idle before it is reported, because the report may lead to the next task.
            self._task = None
        self._report(task, event)

    def _ended(self) -> None:
        with self._lock:
            self._dead, task = True, self._task
        if task:
            self._report(task, Ended(error=self._death(task)))

    def _death(self, task: Task) -> KdprobeError:
        code, last = self._child.death()
        if code == -signal.SIGKILL:
            return KdprobeError(
                f"The process that ran {task.label} was killed, perhaps because memory ran out.",
                "Lower --jobs, or use smaller batches; finished stages are kept.",
            )
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        return KdprobeError(f"The process that ran {task.label} {how}{last}.", "Finished stages are kept.")


def _visible_gpus() -> list[str]:
    """The GPUs of this process, as another process can be told to use only one of them."""
    if not default_device().startswith("cuda"):
        return []
    import torch

    listed = os.environ.get(_GPUS, "")
    return listed.split(",") if listed else [str(index) for index in range(torch.cuda.device_count())]


def _refuse_spreading(experiment: Mapping[str, Any], gpus: Sequence[str]) -> None:
    """Refuses models that would be spread over the one GPU of a worker.

    Raises:
        UsageError: There is one.
    """
    if gpus and (experiment["student"].get("device_map") or experiment["teacher"]["options"].get("device_map")):
        raise UsageError(
            "With --jobs, each process uses one GPU, but device_map spreads a model over several.",
            "Leave out --jobs, or use --executor ray and set `gpus` in [resources].",
        )


def _note_load(task: Task, jobs: int) -> None:
    """Says when there are more threads than CPUs, or so few that more jobs would fit."""
    threads, cpus = task.resources.threads or thread_count(), os.cpu_count() or 1
    if default_device() != "cpu":
        return
    if jobs > 1 and jobs * threads > cpus:
        most = max(1, cpus // threads)
        otherwise = ", or set `threads` in [resources], which changes the keys of all stages" if threads > 1 else ""
        lower = f"Lower --jobs to {most}{otherwise}."
        note(f"{jobs} jobs, with {counted(threads, 'thread')} each, share {counted(cpus, 'CPU')}. {lower}")
    elif jobs == 1 and task.resources.threads and threads * 2 <= cpus:
        more = cpus // threads
        used = "them all" if more * threads == cpus else f"{more * threads} of them"
        note(f"This run uses {threads} of {cpus} CPUs; --jobs {more} would use {used}.")
