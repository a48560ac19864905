"""The executor: a process that talks to Ray, what it is asked, and what it tells."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import deque
from contextlib import suppress
from dataclasses import asdict
from threading import Lock, Thread
from typing import Any

from kdprobe import KdprobeError
from kdprobe.console import note
from kdprobe.experiment import Ended, Job, Report, Task, event_from
from kdprobe_ray.needs import needs, overload
from kdprobe_ray.options import RayOptions

_STOP_SECONDS = 30.0
"""Ray stops its processes one after the other, each with its own patience."""
_SHORT_STOP_SECONDS = 5.0
_SHOWN_LINES = 3
"""Last lines of what Ray printed, in the message about its end."""


class RayExecutor:
    """Runs stages as Ray tasks.

    Only a process of its own talks to Ray, because Ray prints to stdout, handles signals, and aborts the process if it
    loses the cluster. It ends with this one.
    """

    def __init__(self, options: RayOptions) -> None:
        self._options = options
        self._process: subprocess.Popen[str] | None = None
        self._readers: list[Thread] = []
        self._noted = False
        self._ready, self._gone = False, False
        self._tasks: dict[str, Task] = {}
        self._lock = Lock()
        self._printed: deque[str] = deque(maxlen=_SHOWN_LINES)

    def start(self, job: Job, jobs: int | None, report: Report) -> None:  # noqa: ARG002 - who submits counts them
        """Starts or joins a cluster; arguments as in `Executor`."""
        data = job.as_data()
        self._report = report
        self._process = subprocess.Popen(
            [sys.executable, "-m", "kdprobe_ray.driver"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0"},
            encoding="utf-8",
            errors="replace",
            # Ctrl-C reaches only this process, which then stops the other one.
            start_new_session=True,
        )
        self._readers.append(Thread(target=self._listen_to_errors, args=(self._process,), daemon=True))
        self._readers[-1].start()
        self._send({"job": data, "options": self._options.model_dump()})
        assert self._process.stdout  # noqa: S101 - a pipe
        first = json.loads(self._process.stdout.readline() or "null")
        if first is None:
            raise self._death("starting Ray")
        if error := first.get("error"):
            raise KdprobeError(error, first.get("hint"))
        self._ready = True
        self._readers.append(Thread(target=self._listen, args=(self._process,), daemon=True))
        self._readers[-1].start()

    def submit(self, task: Task) -> None:
        """Has Ray run a task as soon as there is room for it."""
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
            self._send({"task": asdict(task), "needs": asked})

    def stop(self) -> None:
        """Cancels everything, and leaves the cluster, or stops it if it was started for this run."""
        process, self._process = self._process, None
        with self._lock:
            self._tasks.clear()
        if process is None:
            return
        assert process.stdin  # noqa: S101 - a pipe
        with suppress(BrokenPipeError):
            process.stdin.close()
        try:
            # Before it is ready, it may wait for a cluster, and has no stage to stop.
            process.wait(_STOP_SECONDS if self._ready else _SHORT_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            pass
        finally:
            # Also what Ray left, and even if there was no time to wait.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        for reader in self._readers:
            reader.join(_SHORT_STOP_SECONDS)
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe:
                with suppress(BrokenPipeError):
                    pipe.close()

    def _send(self, data: Any) -> None:
        assert self._process  # noqa: S101 - started
        assert self._process.stdin  # noqa: S101 - a pipe
        # If it has died, the thread that listens reports it.
        with suppress(BrokenPipeError):
            print(json.dumps(data), file=self._process.stdin, flush=True)

    def _listen(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout  # noqa: S101 - a pipe
        for line in process.stdout:
            key, message = json.loads(line)
            event = event_from(message)
            with self._lock:
                task = self._tasks.get(key)
                if isinstance(event, Ended):
                    self._tasks.pop(key, None)
            if task:
                self._report(task, event)
        self._report_lost()

    def _report_lost(self) -> None:
        """Ends all tasks, since nothing will come of them."""
        with self._lock:
            self._gone, lost = True, [*self._tasks.values()]
            self._tasks.clear()
        for task in lost:
            self._report(task, Ended(error=self._death(task.label)))

    def _listen_to_errors(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr  # noqa: S101 - a pipe
        for line in process.stderr:
            if line.strip():
                self._printed.append(line.strip())

    def _death(self, what: str) -> KdprobeError:
        last = f", after printing: {' '.join(self._printed)}" if self._printed else ""
        return KdprobeError(
            f"The process that talks to Ray died during {what}{last}.",
            "Rerun the same command: finished stages are kept, and the others resume.",
        )
