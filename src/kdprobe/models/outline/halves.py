"""Long lists of conversations are rendered by two processes, since Python's lock lets threads render only in turn."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeVar

_LEAST = 2048
"""Items from which a second process saves more time than it costs."""
Item = TypeVar("Item")


def texts_in_halves(render: Callable[[Sequence[Item]], list[str]], items: Sequence[Item]) -> list[str]:
    """What `render` makes of the items; raises what it raises.

    The second half is rendered by a fork of this process, where forks are safe (Linux) and a second processor is
    available. If it fails there, it is rendered here, so that its error is raised here.

    Args:
        render: Makes a text of each item, whatever the other items are.
        items: The items.
    """
    half = len(items) // 2
    if len(items) < _LEAST or sys.platform != "linux" or len(os.sched_getaffinity(0)) == 1:
        return render(items)
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        _write(reading, writing, render, items[half:])
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        try:
            first = render(items[:half])
            content = pipe.read()
        finally:
            # If the first half is refused, the fork ends when it finds nobody reading.
            pipe.close()
            _, status = os.waitpid(child, 0)
    second = json.loads(content) if status == 0 else render(items[half:])
    return [*first, *second]


def _write(reading: int, writing: int, render: Callable[[Sequence[Item]], list[str]], items: Sequence[Item]) -> None:
    """Writes the texts to the pipe and ends the process, without leaving through the code of its parent."""
    status = 1
    # Any exception is the parent's to raise, after it has met the same one.
    with suppress(BaseException):
        os.close(reading)
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(json.dumps(render(items)).encode())
        status = 0
    os._exit(status)
