"""Notes, warnings and progress of a worker process, told to the process that has the screen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Said:
    """A note or a warning.

    Attributes:
        text: What was said.
        warning: Whether it may invalidate results.
        once: Whether to show it only once.
    """

    text: str
    warning: bool = False
    once: bool = False


@dataclass(frozen=True)
class Progressed:
    """How far a task is.

    Attributes:
        label: The task.
        state: Done of total, rate and time left, as words.
        completed: Units done.
        total: Number of units, if known.
    """

    label: str
    state: str
    completed: float
    total: int | None


Tell = Callable[[Said | Progressed], None]
_tell: Tell | None = None


def relay() -> Tell | None:
    """Where to tell things instead of showing them, if anywhere."""
    return _tell


@contextmanager
def relayed(tell: Tell) -> Iterator[None]:
    """Lets `tell` have everything that the block, in any thread, would show."""
    global _tell  # noqa: PLW0603 - threads of the work do not inherit context variables
    before, _tell = _tell, tell
    try:
        yield
    finally:
        _tell = before
