"""Progress of long tasks: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, TypeVar

from kdprobe.console.messages import is_shown
from kdprobe.console.relay import Progressed, Tell, relay
from kdprobe.console.remainder import Remainder
from kdprobe.console.streams import err, visible

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

PLAIN_INTERVAL_SECONDS = 10.0
FIRST_LINE_SECONDS = 2.0
"""The first plain line comes sooner, so that work of a few seconds is not silent."""
_BRIEF_SECONDS = 1.0
"""Work that is expected to be brief gets no bar if it ends within this time."""
_STEP = 1_000
"""Items between two updates of `Progress.over`, which would otherwise cost more than the work."""
_RELAY_SECONDS = 0.25
"""Between two updates that a worker process tells."""
Item = TypeVar("Item")
_current: ContextVar[Progress | None] = ContextVar("current", default=None)
_remainder: ContextVar[Remainder | None] = ContextVar("remainder", default=None)


class Progress:
    """Progress of one long task: done of total, an optional rate, and the time left.

    Units may finish in batches. Within a batch, progress is estimated from the work done so far and the work that each
    unit takes: as much as the finished ones did on average, or, before any has finished, as much as it may take.

    Args:
        label: The task.
        total: Number of units, if known.
        unit: The unit of `advance(work=…)`, for the rate (for example `tok`).
    """

    def __init__(self, label: str, total: int | None, unit: str | None) -> None:
        self.label, self.total, self.unit = label, total, unit
        self.done = 0
        self.work = 0
        self._batch, self._longest, self._within = 0, 0, 0
        self.remark = ""
        self._skipped = 0
        # Stored now, so that silencing a library during the work does not silence the progress.
        self._stream = sys.stderr
        self._started = time.monotonic()
        self._next_line = self._started + FIRST_LINE_SECONDS

    def begin(self, units: int, longest: int) -> None:
        """Begins a batch of units, each of which takes at most `longest` work."""
        self._batch, self._longest, self._within = units, longest, 0

    def within(self, work: int) -> None:
        """Counts work on a batch that is not finished, such as the tokens of one decoding step."""
        self._within += work
        self.show()

    def advance(self, steps: int = 1, work: int = 0, remark: str | None = None) -> None:
        """Counts finished units and ends their batch; a remark stays until the next one.

        Args:
            steps: Number of units.
            work: All their work (such as tokens) for the rate, including what `within` counted.
            remark: A remark.
        """
        self.done += steps
        self.work += work
        self._batch = self._within = 0
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
            if is_shown():
                print(f"{self.label}: {self.state()}", file=self._stream, flush=True)

    @property
    def completed(self) -> float:
        """Finished units, and the estimated part of the current batch."""
        finished = self.done - self._skipped
        expected = self.work / finished if finished and self.work else self._longest
        return self.done + (min(self._batch, self._within / expected) if expected else 0)

    def stop(self) -> None:
        """Ends the display."""

    def state(self) -> str:
        """Done of total, rate and time left, as words."""
        elapsed = max(time.monotonic() - self._started, 1e-9)
        # Several functions may advance one progress, more often than its total says.
        parts = [f"{self.done}/{self.total}" if self.total and self.done <= self.total else f"{self.done}"]
        if self.unit and (work := self.work + self._within):
            parts.append(f"{work / elapsed:,.0f} {self.unit}/s")
        if self.remark:
            parts.append(self.remark)
        made, left = self.completed - self._skipped, 0.0
        if self.total and made and self.done < self.total:
            left = elapsed / made * (self.total - self.completed)
            parts.append(f"{'' if self.done > self._skipped else 'up to '}{_clock(left)} left")
        if (remainder := _remainder.get()) and (words := remainder.words(left)):
            parts.append(words)
        return ", ".join(parts)


class _LiveProgress(Progress):
    """Progress on a terminal, which appears when the work has taken `after` seconds: a bar, and words below it."""

    def __init__(self, label: str, total: int | None, unit: str | None, console: Console, after: float) -> None:
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Bar
        from rich.text import Text

        class WithWords(Bar):
            def get_renderables(self) -> Iterator[RenderableType]:
                yield from super().get_renderables()
                # They do not fit next to the bar in 80 columns.
                yield from (Text(f"  {task.fields['state']}", no_wrap=True) for task in self.tasks)

        super().__init__(label, total, unit)
        # Markup stays off, because a label may contain an arm's name.
        columns = (TextColumn("{task.description}", markup=False), BarColumn(bar_width=24))
        self._bar = WithWords(*columns, console=console, transient=True)
        self._task = self._bar.add_task(visible(label), total=total, state="")
        self._begins = self._started + after
        self.show()

    def show(self) -> None:
        if time.monotonic() >= self._begins:
            self._bar.start()
            self._bar.update(self._task, completed=self.completed, state=self.state())

    def stop(self) -> None:
        if self._bar.live.is_started:
            self._bar.stop()


class _RelayedProgress(Progress):
    """Progress in a worker process, which the process with the screen shows."""

    def __init__(self, label: str, total: int | None, unit: str | None, tell: Tell) -> None:
        super().__init__(label, total, unit)
        self._tell = tell
        self._next_line = self._started

    def show(self) -> None:
        now = time.monotonic()
        if now >= self._next_line:
            self._next_line = now + _RELAY_SECONDS
            self._tell(Progressed(self.label, self.state(), self.completed, self.total))


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
    bar = _progress(label, total, unit, _BRIEF_SECONDS if brief else 0.0)
    token = _current.set(bar)
    try:
        yield bar
    finally:
        _current.reset(token)
        bar.stop()


def _progress(label: str, total: int | None, unit: str | None, after: float) -> Progress:
    if tell := relay():
        return _RelayedProgress(label, total, unit, tell)
    console = err()
    if console.is_terminal and is_shown():
        return _LiveProgress(label, total, unit, console, after)
    return Progress(label, total, unit)


@contextmanager
def as_part(remainder: Remainder) -> Iterator[None]:
    """Lets the progress of every task in the block also show the time left for the whole run."""
    token = _remainder.set(remainder)
    try:
        yield
    finally:
        _remainder.reset(token)


def current() -> Progress | None:
    """The progress of the current task, for code to which the caller cannot pass it."""
    return _current.get()


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
