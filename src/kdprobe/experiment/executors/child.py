"""Child processes that are given lines of JSON on stdin, and tell lines of JSON on stdout."""

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
"""How long to wait for the rest of what a process that has ended had to tell."""
_SHOWN_LINES = 3
"""Last lines of what a process printed, in the message about its death."""


class Child:
    """A Python module that runs in a process of its own, which ends with this one.

    Ctrl-C reaches only this process; the other one leads a group of its own.

    Args:
        module: The module, run with `python -m`.
        first: The first line that it is given.
        environment: Variables in addition to those of this process.
        show: Whether to show what it prints.
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
        """Gives it a line. If it has died, that shows in what it tells: nothing more."""
        assert self._process.stdin  # noqa: S101 - a pipe
        with suppress(BrokenPipeError), self._sending:
            print(json.dumps(data), file=self._process.stdin, flush=True)

    def next(self) -> Any:
        """Waits for its next line, before `listen`; `None` if it ends."""
        assert self._process.stdout  # noqa: S101 - a pipe
        return json.loads(self._process.stdout.readline() or "null")

    def listen(self, hear: Callable[[Any], None], ended: Callable[[], None]) -> None:
        """Has a thread hear all its further lines, and then learn of its end."""
        self._read(self._pass_on, hear, ended)

    def end(self, seconds: float) -> None:
        """Ends its input and gives it time to end by itself; then stops it and everything that it started."""
        assert self._process.stdin  # noqa: S101 - a pipe
        try:
            with suppress(BrokenPipeError):
                self._process.stdin.close()
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            pass
        finally:
            # Also what it left, and even if there was no time to wait.
            self._signal(signal.SIGKILL)
            self._close()

    def terminate(self, seconds: float) -> None:
        """Stops it in the middle of whatever it does, and everything that it started."""
        self._signal(signal.SIGTERM)
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._signal(signal.SIGKILL)
        finally:
            self._close()

    def death(self) -> tuple[int, str]:
        """Waits for its end: its exit code, and what it printed last, as the end of a sentence."""
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
    """Prepares a process that a `Child` runs in; returns the stream for what it tells.

    What libraries print to stdout goes to stderr, so that it is not taken for what is told. Ctrl-C is for the process
    that has the terminal.
    """
    told = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return told
