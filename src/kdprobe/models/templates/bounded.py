"""Limits for chat templates, which are untrusted programs: rendering stops if it takes too much time or memory."""

from __future__ import annotations

import ctypes
import math
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from kdprobe.errors import KdprobeError
from kdprobe.limits import TEMPLATE_GB, TEMPLATE_SECONDS

_INTERVAL = 0.1
"""Seconds between two checks for renderings that take too long."""
_LARGEST_POWER = 4096
"""Bits of the largest power a template may compute, because Python cannot be interrupted inside one."""
_PAGES = Path("/proc/self/statm")
"""Where Linux reports how much memory a process uses."""


class _TooLongError(BaseException):
    """Raised inside a rendering; the template's code cannot catch it."""


@contextmanager
def bounded(template: str) -> Iterator[None]:
    """Limits the time, memory and powers of a block that renders a template.

    Blocks in several threads must not overlap, because the limits apply to the whole process.

    Args:
        template: The template's model, for the error message.

    Raises:
        KdprobeError: The block took too much time or memory.
    """
    seconds = TEMPLATE_SECONDS.value
    try:
        # The watch ends first: its exception must not arrive between setting a limit and removing it.
        with _small_powers(), _limited_memory(), _WATCH.over(seconds):
            yield
    except _TooLongError:
        raise KdprobeError(
            f"The chat template of {template!r} takes longer than {seconds:g} seconds.", TEMPLATE_SECONDS.hint
        ) from None
    except MemoryError as error:
        raise KdprobeError(
            f"The chat template of {template!r} takes more than {TEMPLATE_GB.value:g} GB of memory.", TEMPLATE_GB.hint
        ) from error


class _Watch:
    """Raises an exception in threads that take too long; one watcher serves all, since threads are expensive."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._deadlines: dict[int, float] = {}
        self._watcher: threading.Thread | None = None

    @contextmanager
    def over(self, seconds: float) -> Iterator[None]:
        """Watches this thread while the block runs; such blocks cannot be nested."""
        thread = threading.get_ident()
        with self._lock:
            self._deadlines[thread] = time.monotonic() + seconds
            if self._watcher is None or not self._watcher.is_alive():
                self._watcher = threading.Thread(target=self._look, name="kdprobe-template-watch", daemon=True)
                self._watcher.start()
        try:
            yield
        finally:
            with self._lock:
                # From here on nothing is raised, even if it was already requested.
                if self._deadlines.pop(thread, None) is None:
                    _raise_in(thread, None)

    def _look(self) -> None:
        while True:
            time.sleep(_INTERVAL)
            now = time.monotonic()
            with self._lock:
                for thread in [thread for thread, deadline in self._deadlines.items() if deadline < now]:
                    del self._deadlines[thread]
                    _raise_in(thread, _TooLongError)


def _raise_in(thread: int, error: type[BaseException] | None) -> None:
    """Makes a thread raise an error as soon as it runs Python code; `None` cancels an error not yet raised."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread), None if error is None else ctypes.py_object(error)
    )


_WATCH = _Watch()
if hasattr(os, "register_at_fork"):
    # A fork has none of its parent's threads, and may inherit their lock in a locked state.
    os.register_at_fork(after_in_child=_WATCH.__init__)  # type: ignore[misc]


@contextmanager
def _limited_memory() -> Iterator[None]:
    """Limits how much the process's memory may grow; does nothing if the system cannot report or limit it."""
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


@contextmanager
def _small_powers() -> Iterator[None]:
    """Makes transformers compile templates that cannot compute large powers."""
    from transformers.utils import chat_template_utils

    environment = chat_template_utils.ImmutableSandboxedEnvironment
    chat_template_utils.ImmutableSandboxedEnvironment = _with_small_powers(environment)
    try:
        yield
    finally:
        chat_template_utils.ImmutableSandboxedEnvironment = environment


@lru_cache(maxsize=8)
def _with_small_powers(environment: type[Any]) -> type[Any]:
    """The same class of sandboxed Jinja environments, without large powers."""

    class SmallPowers(environment):  # type: ignore[misc]
        intercepted_binops = frozenset({"**"})

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            if isinstance(left, int) and isinstance(right, int) and left.bit_length() * right > _LARGEST_POWER:
                raise OverflowError(f"a power of more than {_LARGEST_POWER} bits")
            return super().call_binop(context, operator, left, right)

    return SmallPowers
