"""A process that computes beside this one, forked from it so that it starts at once, with the same code and settings.

Whatever fails there or causes a warning is done again in this process. So a fork saves time, and changes nothing else.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from kdprobe.console.messages import listening

Result = TypeVar("Result")


class UnansweredError(Exception):
    """There is no process, or what it was asked has to be done again here."""


class Fork:
    """A process that answers one call after the other.

    Args:
        prepare: What it does before the first call, usually imports; errors are left to the calls.
    """

    def __init__(self, prepare: Callable[[], object]) -> None:
        self._prepare = prepare
        self._process: Any = None
        self._connection: Connection | None = None

    def start(self, prepare: Callable[[], object] | None = None) -> None:
        """Starts the process unless it has been started, or there is nothing to gain, or it would not be safe.

        Args:
            prepare: What it does before the first call, if not the usual.
        """
        if self._process or not _worthwhile():
            return
        context = multiprocessing.get_context("fork")
        here, there = context.Pipe()
        process = context.Process(target=_answer, args=(there, here, prepare or self._prepare), daemon=True)
        # Ctrl-C reaches every process of a terminal, and this one responds to it: the other never sees it.
        masked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            # There may be no room for another process, or this one may not be allowed to have any.
            with suppress(OSError, AssertionError):
                process.start()
                self._process, self._connection = process, here
            there.close()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, masked)

    def ask(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """What a function returns there.

        Args:
            function: A function of a module; what it is given and returns can be pickled.
            arguments: Its arguments.

        Raises:
            UnansweredError: It has to be called here.
        """
        if self._connection is None:
            raise UnansweredError
        try:
            self._connection.send((function, arguments))
            answered, result = self._connection.recv()
        except Exception as error:
            # It was killed, or cannot be given these arguments.
            self._disconnect()
            raise UnansweredError from error
        except BaseException:
            # Otherwise this answer would be taken for that of the next call.
            self._disconnect()
            raise
        if not answered:
            raise UnansweredError
        answer: Result = result
        return answer

    def call(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """What a function returns: there if possible, otherwise here; arguments as for `ask`."""
        with suppress(UnansweredError):
            return self.ask(function, *arguments)
        return function(*arguments)

    def close(self) -> None:
        """Ends the process, whatever it is doing."""
        self._disconnect()
        if self._process:
            self._process.kill()
            self._process.join()
            self._process = None

    def _disconnect(self) -> None:
        if self._connection:
            self._connection.close()
            self._connection = None


def cores() -> int:
    """The number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def _worthwhile() -> bool:
    """Whether transformers and torch have not been imported here, and this process can safely be forked."""
    imported = {"torch", "transformers"} & sys.modules.keys()
    return sys.platform == "linux" and not imported and threading.active_count() == 1


def _answer(there: Connection, here: Connection, prepare: Callable[[], object]) -> None:
    """Answers calls until the other process closes the connection or ends."""
    here.close()
    # Imports leave hardly any garbage, and the search for it takes a fifth of their time.
    gc.disable()
    with suppress(Exception):
        prepare()
    # What cannot be unpickled is not answered either.
    with suppress(Exception):
        while True:
            function, arguments = there.recv()
            try:
                with listening(shown=False) as warnings:
                    result = function(*arguments)
                there.send((not warnings, None if warnings else result))
            except Exception:  # noqa: BLE001 - it is raised again in the other process
                there.send((False, None))
