"""One error class with a hint, caught in one place (`kdprobe.cli`) and shown without a traceback."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from kdprobe.words import counted

_DOING = "while "
_LONGEST = 300
"""Characters of a message that are quoted: some libraries' span pages."""
_OTHER_DTYPE = "Use another data type (`dtype`): float16 overflows above 65,504; bfloat16 and float32 do not."


class KdprobeError(Exception):
    """An error the user can fix: one sentence that says what is wrong, and one that says what to do.

    Attributes:
        message: What is wrong, as a sentence.
        hint: What to do about it, or `None`.
        exit_code: The exit code of the command line.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        if not self.hint:
            return self.message
        # A message may end with text from elsewhere.
        stop = "" if self.message.endswith((".", "!", "?", ":")) else "."
        return f"{self.message}{stop} {self.hint}"


def first_line(error: BaseException) -> str:
    """The first line of a library's error message, or its class if the message is empty."""
    return (_message(error) or type(error).__name__).splitlines()[0]


def quoted(error: BaseException) -> str:
    """The class and the message of an exception from elsewhere, in one line without a full stop, for a sentence."""
    message = " ".join(_message(error).split()).rstrip(".")
    shown = message if len(message) <= _LONGEST else f"{message[:_LONGEST].rstrip()} …"
    return f"{type(error).__name__}: {shown or 'no message'}"


def _message(error: BaseException) -> str:
    try:
        return str(error).strip()
    except Exception:  # noqa: BLE001 - a plugin's exception may fail when converted to text
        return ""


class UsageError(KdprobeError):
    """A `KdprobeError` in the command, call or config: it names something that does not exist or does not fit."""

    exit_code = 2


class NonFiniteError(KdprobeError):
    """A number is NaN or infinite, which would make everything computed from it meaningless.

    Args:
        message: Which number, as a sentence.
        hint: What to do about it.
        step: The step at or after which training diverged, if known.
    """

    def __init__(self, message: str, hint: str = "", *, step: int | None = None) -> None:
        super().__init__(message, hint or _OTHER_DTYPE)
        self.step = step


class ConfigError(UsageError):
    """A config with errors, all reported together.

    Attributes:
        mistakes: One sentence each, preceded by the key in the config (`distill.options.rank: …`).
    """

    def __init__(self, source: str, mistakes: Iterable[str]) -> None:
        self.mistakes = tuple(mistakes)
        count = len(self.mistakes)
        listed = "\n".join(f"  - {mistake}" for mistake in self.mistakes)
        super().__init__(f"{source} has {counted(count, 'error')}:\n{listed}")


@contextmanager
def doing(what: str) -> Iterator[None]:
    """Adds a note on what was being done to any exception raised in the block."""
    try:
        yield
    except BaseException as error:
        error.add_note(f"{_DOING}{what}")
        raise


def doing_when(error: BaseException) -> str:
    """What was being done when an error occurred, innermost first, as the end of a sentence; empty if unknown."""
    notes = [note for note in getattr(error, "__notes__", ()) if note.startswith(_DOING)]
    return "".join(f", {note}" for note in notes)
