"""Child processes that exchange lines of JSON with this one: orders on their stdin, messages on their stdout."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from threading import Lock, Thread
from typing import Any, TextIO

_READ_SECONDS = 5.0
"""How long to wait for the threads that read what an ended process left in its pipes."""
_SHOWN_LINES = 3
"""Last lines of what a process printed, in the message about its death."""


class Child:
    """A Python module run as a child process, for executors that need other processes.

    The child is started in a session of its own, so Ctrl-C reaches only this process, which then stops the child. The
    module should exit when its stdin ends, so that it never outlives this process.

    Args:
        module: The module, run with `python -m`.
        first: The first line to send, as data for JSON.
        environment: Environment variables to set in addition to those of this process.
        show: Whether to copy the child's stderr to this process's stderr.
    """

    def __init__(self, module: str, first: Any, environment: Mapping[str, str], *, show: bool = True) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **environment},
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )
        self._printed: deque[str] = deque(maxlen=_SHOWN_LINES)
        self._readers: list[Thread] = []
        self._sending = Lock()
        self._read(self._keep, show)
        self.send(first)

    def send(self, data: Any) -> None:
        """Sends data as a line of JSON. If the child has died, this does nothing; `listen` reports its end."""
        assert self._process.stdin  # noqa: S101 - a pipe
        with suppress(BrokenPipeError), self._sending:
            print(json.dumps(data), file=self._process.stdin, flush=True)

    def next(self) -> Any:
        """Waits for one message and returns it, or `None` if the child ended; only before `listen`."""
        assert self._process.stdout  # noqa: S101 - a pipe
        return json.loads(self._process.stdout.readline() or "null")

    def listen(self, hear: Callable[[Any], None], ended: Callable[[], None]) -> None:
        """Starts a thread that calls `hear` with each further message, and `ended` when the child ends."""
        self._read(self._pass_on, hear, ended)

    def end(self, seconds: float) -> None:
        """Closes the child's stdin, waits up to `seconds` for it to exit, then kills its process group."""
        assert self._process.stdin  # noqa: S101 - a pipe
        try:
            with suppress(BrokenPipeError):
                self._process.stdin.close()
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            pass
        finally:
            # Even if the wait was interrupted; also processes that it started and left behind.
            self._signal(signal.SIGKILL)
            self._close()

    def terminate(self, seconds: float) -> None:
        """Sends SIGTERM to the child's process group, and SIGKILL if it has not exited after `seconds`."""
        self._signal(signal.SIGTERM)
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
        finally:
            self._close()

    def death(self) -> tuple[int, str]:
        """Waits for the child to exit; returns its exit code and, as a clause, its last lines of stderr."""
        code = self._process.wait()
        return code, f", after printing: {' '.join(self._printed)}" if self._printed else ""

    def _read(self, read: Callable[..., None], *arguments: Any) -> None:
        self._readers.append(Thread(target=read, args=arguments, daemon=True))
        self._readers[-1].start()

    def _keep(self, show: bool) -> None:
        assert self._process.stderr  # noqa: S101 - a pipe
        for line in self._process.stderr:
            if line.strip():
                self._printed.append(line.strip())
            if show:
                sys.stderr.write(line)

    def _pass_on(self, hear: Callable[[Any], None], ended: Callable[[], None]) -> None:
        assert self._process.stdout  # noqa: S101 - a pipe
        for line in self._process.stdout:
            hear(json.loads(line))
        ended()

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def _close(self) -> None:
        self._process.wait()
        for reader in self._readers:
            reader.join(_READ_SECONDS)
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe:
                with suppress(BrokenPipeError):
                    pipe.close()


def in_child() -> TextIO:
    """Prepares a process that was started as a `Child`, and returns the stream for its messages.

    From here on, anything printed to stdout goes to stderr, so that it cannot be mistaken for a message. SIGINT is
    ignored, because Ctrl-C is handled by the parent.
    """
    told = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return told
