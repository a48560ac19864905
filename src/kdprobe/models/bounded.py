"""Chat templates are programs from outside: what they compute is stopped when it takes too long or too much memory."""

from __future__ import annotations

import ctypes
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from kdprobe.errors import KdprobeError
from kdprobe.limits import TEMPLATE_GB, TEMPLATE_SECONDS

_LARGEST_POWER = 4096
"""Bits of the largest power that a template may compute: nothing stops Python inside one."""
_PAGES = Path("/proc/self/statm")
"""Where Linux says how much memory a process has."""


class _TooLongError(BaseException):
    """Raised inside a rendering; no template's code can catch it."""


@contextmanager
def bounded(template: str) -> Iterator[None]:
    """Limits the time and the memory of a block that renders a template.

    Args:
        template: Whose, for the sentence.

    Raises:
        KdprobeError: The block took too long or too much.
    """
    seconds = TEMPLATE_SECONDS.value
    watch = _Watch(threading.get_ident())
    timer = threading.Timer(seconds, watch.stop) if math.isfinite(seconds) else None
    try:
        if timer:
            timer.daemon = True
            timer.start()
        # The watch ends first: what it raises must not come between a limit and its end.
        with _limited_memory():
            try:
                yield
            finally:
                watch.end()
                if timer:
                    timer.cancel()
    except _TooLongError:
        raise KdprobeError(
            f"The chat template of {template!r} takes longer than {seconds:g} seconds.", TEMPLATE_SECONDS.hint
        ) from None
    except MemoryError as error:
        raise KdprobeError(
            f"The chat template of {template!r} takes more than {TEMPLATE_GB.value:g} GB of memory.", TEMPLATE_GB.hint
        ) from error


class _Watch:
    """Raises an exception in a thread, unless the thread is done before.

    Args:
        thread: Its identifier.
    """

    def __init__(self, thread: int) -> None:
        self._thread = ctypes.c_ulong(thread)
        self._lock = threading.Lock()
        self._done = False

    def stop(self) -> None:
        with self._lock:
            if not self._done:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(self._thread, ctypes.py_object(_TooLongError))

    def end(self) -> None:
        """Called in the thread itself; nothing is raised from here on, even if it was asked for."""
        with self._lock:
            self._done = True
            ctypes.pythonapi.PyThreadState_SetAsyncExc(self._thread, None)


@contextmanager
def _limited_memory() -> Iterator[None]:
    """Lets the process have so much more than it has now; does nothing where the system cannot say or limit it."""
    more = TEMPLATE_GB.value
    try:
        import resource

        now = int(_PAGES.read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    except (ImportError, OSError, ValueError):
        now = 0
    if not now or not math.isfinite(more):
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    least = now + int(more * 2**30)
    if soft != resource.RLIM_INFINITY:
        least = min(least, soft)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (least, hard))
    try:
        yield
    finally:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@lru_cache(maxsize=8)
def with_small_powers(environment: type[Any]) -> type[Any]:
    """A class of sandboxed jinja environments whose templates compute no large powers.

    Args:
        environment: The class.
    """

    class SmallPowers(environment):  # type: ignore[misc]
        intercepted_binops = frozenset({"**"})

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            if isinstance(left, int) and isinstance(right, int) and left.bit_length() * right > _LARGEST_POWER:
                raise OverflowError(f"a power of more than {_LARGEST_POWER} bits")
            return super().call_binop(context, operator, left, right)

    return SmallPowers
