"""One error class with a hint, caught in one place (`kdprobe.cli`) and shown without a traceback."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

_DOING = "while "
_OTHER_DTYPE = "Use another data type (`dtype`): float16 overflows above 65,504, bfloat16 and float32 do not."


class KdprobeError(Exception):
    """Something the user can fix: one sentence that says what is wrong, one that says what to do.

    Attributes:
        message: What is wrong, a sentence.
        hint: What to do about it, or `None`.
        exit_code: What the command line exits with.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        if not self.hint:
            return self.message
        # A message may end in what somebody else said.
        stop = "" if self.message.endswith((".", "!", "?", ":")) else "."
        return f"{self.message}{stop} {self.hint}"


def first_line(error: Exception) -> str:
    """What an error of a library says, or its class where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


class UsageError(KdprobeError):
    """The command or the config asks for something that does not exist or does not fit."""

    exit_code = 2


class NonFiniteError(KdprobeError):
    """A number is NaN or infinite where it must not be; nothing that is computed from it would mean anything.

    Args:
        message: Which number, a sentence.
        hint: What to do about it.
        step: At or after which step, where a training diverged and the step is known.
    """

    def __init__(self, message: str, hint: str = "", *, step: int | None = None) -> None:
        super().__init__(message, hint or _OTHER_DTYPE)
        self.step = step


class ConfigError(UsageError):
    """A config with mistakes, all of them at once.

    Attributes:
        mistakes: One sentence each, led by the key in the config (`distill.options.rank: …`).
    """

    def __init__(self, source: str, mistakes: Iterable[str]) -> None:
        self.mistakes = tuple(mistakes)
        count = len(self.mistakes)
        listed = "\n".join(f"  - {mistake}" for mistake in self.mistakes)
        super().__init__(f"{source} has {count} mistake{'s' if count != 1 else ''}:\n{listed}")


@contextmanager
def doing(what: str) -> Iterator[None]:
    """Notes what was being done on any exception that passes."""
    try:
        yield
    except BaseException as error:
        error.add_note(f"{_DOING}{what}")
        raise


def doing_when(error: BaseException) -> str:
    """What was being done when an error arose, the innermost first, as the end of a sentence; empty if nobody said."""
    notes = [note for note in getattr(error, "__notes__", ()) if note.startswith(_DOING)]
    return "".join(f", {note}" for note in notes)
