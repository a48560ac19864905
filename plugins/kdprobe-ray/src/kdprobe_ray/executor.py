"""The executor: a process that talks to Ray, what it is asked, and what it tells."""

from __future__ import annotations

from dataclasses import asdict
from threading import Lock
from typing import Any

from kdprobe import KdprobeError
from kdprobe.console import note
from kdprobe.experiment import Child, Ended, Job, Report, Task, event_from
from kdprobe_ray.needs import needs, overload
from kdprobe_ray.options import RayOptions

_STOP_SECONDS = 30.0
"""Ray stops its processes one after the other, each with its own patience."""
_SHORT_STOP_SECONDS = 5.0


class RayExecutor:
    """Runs stages as Ray tasks.

    Only a process of its own talks to Ray, because Ray prints to stdout, handles signals, and aborts the process if it
    loses the cluster.
    """

    def __init__(self, options: RayOptions) -> None:
        self._options = options
        self._driver: Child | None = None
        self._noted = False
        self._ready, self._gone = False, False
        self._tasks: dict[str, Task] = {}
        self._lock = Lock()

    def start(self, job: Job, jobs: int | None, report: Report) -> None:  # noqa: ARG002 - who submits counts them
        """Starts or joins a cluster; arguments as in `Executor`."""
        self._report = report
        first = {"job": job.as_data(), "options": self._options.model_dump()}
        self._driver = Child("kdprobe_ray.driver", first, {"RAY_USAGE_STATS_ENABLED": "0"}, show=False)
        answer = self._driver.next()
        if answer is None:
            raise _death(self._driver, "starting Ray")
        if error := answer.get("error"):
            raise KdprobeError(error, answer.get("hint"))
        self._ready = True
        self._driver.listen(self._hear, self._report_lost)

    def submit(self, task: Task) -> None:
        """Has Ray run a task as soon as there is room for it."""
        assert self._driver  # noqa: S101 - started
        asked = needs(task, self._options)
        if (sentence := overload(task, asked)) and not self._noted:
            self._noted = True
            note(sentence)
        with self._lock:
            gone = self._gone
            self._tasks[task.key] = task
        if gone:
            self._report_lost()
        else:
            self._driver.send({"task": asdict(task), "needs": asked})

    def stop(self) -> None:
        """Cancels everything, and leaves the cluster, or stops it if it was started for this run."""
        driver, self._driver = self._driver, None
        with self._lock:
            self._tasks.clear()
        if driver:
            # Before it is ready, it may wait for a cluster, and has no stage to stop.
            driver.end(_STOP_SECONDS if self._ready else _SHORT_STOP_SECONDS)

    def _hear(self, told: tuple[str, list[Any]]) -> None:
        key, message = told
        event = event_from(message)
        with self._lock:
            task = self._tasks.get(key)
            if isinstance(event, Ended):
                self._tasks.pop(key, None)
        if task:
            self._report(task, event)

    def _report_lost(self) -> None:
        """Ends all tasks, since nothing will come of them."""
        with self._lock:
            self._gone, lost = True, [*self._tasks.values()]
            self._tasks.clear()
        if lost and self._driver:
            error = _death(self._driver, f"running {', '.join(task.label for task in lost)}")
            for task in lost:
                self._report(task, Ended(error=error))


def _death(driver: Child, what: str) -> KdprobeError:
    _, last = driver.death()
    return KdprobeError(
        f"The process that talks to Ray died while {what}{last}.",
        "Rerun the same command: finished stages are kept, and the others resume.",
    )
