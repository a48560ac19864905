"""The process that talks to Ray: takes tasks on stdin, and tells on stdout what becomes of them, as lines of JSON.

It ends when stdin does, and with it everything that it started.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, TextIO

from kdprobe import KdprobeError
from kdprobe.experiment import in_child
from kdprobe_ray.cluster import join
from kdprobe_ray.tasks import Tasks

_POLL_SECONDS = 0.2


def main() -> None:
    """Runs tasks until stdin ends."""
    told = in_child()
    given = json.loads(sys.stdin.readline())
    orders: SimpleQueue[dict[str, Any] | None] = SimpleQueue()
    Thread(target=_read, args=(orders,), daemon=True).start()
    try:
        join(given["options"]["address"])
    except KdprobeError as error:
        _tell(told, {"error": error.message, "hint": error.hint})
        return
    tasks = Tasks(given["job"], given["options"])
    _tell(told, {})
    while _submitted(orders, tasks):
        for key, message in tasks.events(_POLL_SECONDS):
            _tell(told, [key, message])
    tasks.cancel()


def _read(orders: SimpleQueue[dict[str, Any] | None]) -> None:
    for line in sys.stdin:
        orders.put(json.loads(line))
    orders.put(None)


def _submitted(orders: SimpleQueue[dict[str, Any] | None], tasks: Tasks) -> bool:
    """Submits what was ordered, and waits for an order if there is nothing else to do; false at the end."""
    for order in _all(orders, wait=not tasks):
        if order is None:
            return False
        tasks.submit(order["task"], order["needs"])
    return True


def _all(orders: SimpleQueue[dict[str, Any] | None], *, wait: bool) -> Iterator[dict[str, Any] | None]:
    while True:
        try:
            yield orders.get(block=wait)
        except Empty:
            return
        wait = False


def _tell(stream: TextIO, data: Any) -> None:
    print(json.dumps(data), file=stream, flush=True)


if __name__ == "__main__":
    main()
