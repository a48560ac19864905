"""Progress and messages on stderr, data on stdout: rich on a terminal, plain lines elsewhere.

Text that comes from models, data or plugins goes through `plain`, never through rich's markup.
"""

from __future__ import annotations

import sys
import time
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TextIO, TypeVar

from kdprobe.redaction import said

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

__all__ = ["Progress", "note", "progress"]

PLAIN_INTERVAL_SECONDS = 10.0
_FIRST_LINE_SECONDS = 2.0
"""The first plain line comes sooner, so that work of a few seconds is not silent."""
_BRIEF_SECONDS = 1.0
"""Work that is expected to be brief gets no bar if it ends within this time."""
_STEP = 1_000
"""Items between two updates of `Progress.over`, which would otherwise cost more than the work."""
Item = TypeVar("Item")


@dataclass(frozen=True)
class _Listener:
    """A caller: whether it wants to see progress, and the warnings collected for it."""

    shown: bool = True
    warnings: list[str] = field(default_factory=list)


_listener: ContextVar[_Listener | None] = ContextVar("listener", default=None)
_printed: set[tuple[str, TextIO | None]] = set()


def out() -> Console:
    """The console for results, on stdout."""
    from rich.console import Console

    class Output(Console):
        def on_broken_pipe(self) -> None:
            # As for every other output; rich would exit with 1, although nothing is wrong.
            raise BrokenPipeError

    return Output(file=sys.stdout, markup=False, highlight=False, emoji=False)


def err() -> Console:
    """The console for progress and messages, on stderr."""
    from rich.console import Console

    return Console(file=sys.stderr, markup=False, highlight=False, emoji=False)


def plain(text: str) -> Text:
    """Untrusted text as a rich `Text`: no markup, no control or direction-changing characters."""
    from rich.text import Text

    return Text(visible(text))


def shortened(text: str, longest: int = 2000) -> str:
    """Text with the middle of long lines left out; a mistyped value may be of any length."""
    half = longest // 2
    return "\n".join(line if len(line) <= longest else f"{line[:half]} ... {line[-half:]}" for line in text.split("\n"))


def visible(text: str) -> str:
    r"""Text without secrets or control and direction-changing characters (all but `\n` and `\t` become `�`)."""
    hidden = {"Cc", "Cf", "Cs"}
    shown = said(text)
    if shown.replace("\n", "").replace("\t", "").isprintable():
        return shown  # Nearly every text, and much faster.
    return "".join(char if char in "\n\t" or unicodedata.category(char) not in hidden else "\ufffd" for char in shown)


class Progress:
    """Progress of one long task: done of total, an optional rate, and the time left.

    Args:
        label: The task.
        total: Number of units, if known.
        unit: The unit of `advance(work=…)`, for the rate (for example `tok`).
    """

    def __init__(self, label: str, total: int | None, unit: str | None) -> None:
        self.label, self.total, self.unit = label, total, unit
        self.done = 0
        self.work = 0
        self.remark = ""
        self._skipped = 0
        # Stored now, so that silencing a library during the work does not silence the progress.
        self._stream = sys.stderr
        self._started = time.monotonic()
        self._next_line = self._started + _FIRST_LINE_SECONDS

    def advance(self, steps: int = 1, work: int = 0, remark: str | None = None) -> None:
        """Counts finished units, and work (such as tokens) for the rate; a remark stays until the next one."""
        self.done += steps
        self.work += work
        self.remark = self.remark if remark is None else remark
        self.show()

    def skip(self, steps: int) -> None:
        """Counts units that were finished earlier, which do not affect the estimate of the time left."""
        self._skipped += steps
        self.advance(steps)

    def over(self, items: Iterable[Item]) -> Iterator[Item]:
        """The items, counted in large steps as they are consumed.

        Meant for large numbers of items that take microseconds each.
        """
        taken = 0
        for taken, item in enumerate(items, start=1):
            yield item
            if taken % _STEP == 0:
                self.advance(_STEP)
        self.advance(taken % _STEP)

    def show(self) -> None:
        """Prints a plain line: the first after two seconds, then at most one every ten."""
        now = time.monotonic()
        if now >= self._next_line:
            self._next_line = now + PLAIN_INTERVAL_SECONDS
            if _is_shown():
                print(f"{self.label}: {self.state()}", file=self._stream, flush=True)

    def state(self) -> str:
        """Done of total, rate and time left, as words."""
        elapsed = max(time.monotonic() - self._started, 1e-9)
        parts = [f"{self.done}/{self.total}" if self.total else f"{self.done}"]
        if self.unit and self.work:
            parts.append(f"{self.work / elapsed:,.0f} {self.unit}/s")
        if self.remark:
            parts.append(self.remark)
        finished = self.done - self._skipped
        if self.total and finished and self.done < self.total:
            parts.append(f"{_clock(elapsed / finished * (self.total - self.done))} left")
        return ", ".join(parts)


class _LiveProgress(Progress):
    """Progress as a bar on a terminal, which appears when the work has taken `after` seconds."""

    def __init__(self, label: str, total: int | None, unit: str | None, console: Console, after: float) -> None:
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Bar

        super().__init__(label, total, unit)
        # Markup stays off in both columns, because a label may contain an arm's name.
        self._bar = Bar(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[state]}", markup=False),
            console=console,
            transient=True,
        )
        self._task = self._bar.add_task(visible(label), total=total, state="")
        self._begins = self._started + after
        self.show()

    def show(self) -> None:
        if time.monotonic() >= self._begins:
            self._bar.start()
            self._bar.update(self._task, completed=self.done, state=self.state())

    def stop(self) -> None:
        if self._bar.live.is_started:
            self._bar.stop()


@contextmanager
def progress(
    label: str, total: int | None = None, unit: str | None = None, *, brief: bool = False
) -> Iterator[Progress]:
    """Shows progress on stderr while the block runs: a bar on a terminal, plain lines elsewhere.

    Args:
        label: The task.
        total: Number of units, if known.
        unit: The unit of `Progress.advance(work=...)`, for the rate (for example `tok`).
        brief: Whether the work is usually over within a second; the bar then appears only after that.
    """
    console = err()
    if not console.is_terminal or not _is_shown():
        yield Progress(label, total, unit)
        return
    live = _LiveProgress(label, total, unit, console, _BRIEF_SECONDS if brief else 0.0)
    try:
        yield live
    finally:
        live.stop()


def note(text: str, stream: TextIO | None = None) -> None:
    """Prints a line for the user, to stderr or another stream."""
    if _is_shown():
        print(visible(text), file=stream or sys.stderr, flush=True)


def warn(text: str, stream: TextIO | None = None, *, once: bool = False) -> None:
    """Prints a `note` on something that may invalidate results, and adds it to the `warnings` of the API's result.

    Args:
        text: The warning.
        stream: The stream to print to, by default stderr.
        once: Whether to print it only once to this stream; it is added to every result that it concerns.
    """
    listener = _listener.get()
    if listener and not (once and visible(text) in listener.warnings):
        listener.warnings.append(visible(text))
    if once and not _is_shown():
        return
    if not (once and (text, stream) in _printed):
        note(text, stream)
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


def _is_shown() -> bool:
    listener = _listener.get()
    return listener is None or listener.shown


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
