"""Notes and warnings on stderr, and who wants to see them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TextIO

from kdprobe.console.relay import Said, relay
from kdprobe.console.streams import visible, wrapped


@dataclass(frozen=True)
class _Listener:
    """A caller: whether it wants to see progress, and the warnings collected for it."""

    shown: bool = True
    warnings: list[str] = field(default_factory=list)


_listener: ContextVar[_Listener | None] = ContextVar("listener", default=None)
_quiet: ContextVar[bool] = ContextVar("quiet", default=False)
_printed: set[tuple[str, TextIO | None]] = set()


def note(text: str, stream: TextIO | None = None) -> None:
    """Prints a line for the user, to stderr or another stream."""
    if (tell := relay()) and stream is None:
        tell(Said(text))
    elif is_shown():
        _print(text, stream)


def warn(text: str, stream: TextIO | None = None, *, once: bool = False) -> None:
    """Prints something that may invalidate results, and adds it to the `warnings` of the API's result.

    Args:
        text: The warning.
        stream: The stream to print to, by default stderr.
        once: Whether to print it only once to this stream; it is added to every result that it concerns.
    """
    if (tell := relay()) and stream is None:
        tell(Said(text, warning=True, once=once))
        return
    listener = _listener.get()
    if listener and not (once and visible(text) in listener.warnings):
        listener.warnings.append(visible(text))
    if (listener and not listener.shown) or (once and (text, stream) in _printed):
        return
    _print(text, stream)
    if once:
        _printed.add((text, stream))


@contextmanager
def listening(*, shown: bool) -> Iterator[list[str]]:
    """Collects the warnings of a block.

    Args:
        shown: Whether progress, notes and warnings also go to stderr.
    """
    listener = _Listener(shown)
    token = _listener.set(listener)
    try:
        yield listener.warnings
    finally:
        _listener.reset(token)


@contextmanager
def quietly() -> Iterator[None]:
    """Keeps progress and notes, but not warnings, off the screen while the block runs."""
    token = _quiet.set(True)
    try:
        yield
    finally:
        _quiet.reset(token)


def is_shown() -> bool:
    """Whether progress and notes are shown."""
    listener = _listener.get()
    return not _quiet.get() and (listener is None or listener.shown)


def _print(text: str, stream: TextIO | None) -> None:
    stream = stream or sys.stderr
    print(wrapped(visible(text), stream), file=stream, flush=True)
