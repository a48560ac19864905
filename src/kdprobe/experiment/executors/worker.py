"""A worker process: runs the stages that it is told on stdin, and tells on stdout what becomes of them.

Lines of JSON: the run, then one task after the other; in return, what each says and how far it is, and what became of
it. The process ends when stdin does, even in the middle of a stage, so that it does not outlive the one that started
it. A stage that is not finished is resumed later.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from queue import SimpleQueue
from threading import Lock, Thread
from typing import TextIO

from kdprobe.console.relay import Progressed, Said
from kdprobe.experiment.executors.child import in_child
from kdprobe.experiment.executors.executor import Ended, Task
from kdprobe.experiment.executors.wire import as_message, end_of


def main() -> None:
    """Runs stages until stdin ends."""
    outlet = _Outlet(in_child())
    job = json.loads(sys.stdin.readline())
    tasks: SimpleQueue[Task] = SimpleQueue()
    Thread(target=_read, args=(tasks,), daemon=True).start()
    while True:
        outlet.tell(end_of(job, tasks.get(), outlet.tell))


def _read(tasks: SimpleQueue[Task]) -> None:
    for line in sys.stdin:
        tasks.put(Task.from_data(json.loads(line)))
    # With everything that the stage started; this process leads its group.
    os.killpg(os.getpgid(0), signal.SIGKILL)


class _Outlet:
    """Tells things, from any thread."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._lock = stream, Lock()

    def tell(self, event: Said | Progressed | Ended) -> None:
        with self._lock:
            print(json.dumps(as_message(event)), file=self._stream, flush=True)


if __name__ == "__main__":
    main()
