"""Progress of long tasks: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from kdprobe.console.messages import is_shown
from kdprobe.console.streams import err, visible

if TYPE_CHECKING:
    from rich.console import Console

PLAIN_INTERVAL_SECONDS = 10.0
_FIRST_LINE_SECONDS = 2.0
"""The first plain line comes sooner, so that work of a few seconds is not silent."""
_BRIEF_SECONDS = 1.0
"""Work that is expected to be brief gets no bar if it ends within this time."""
_STEP = 1_000
"""Items between two updates of `Progress.over`, which would otherwise cost more than the work."""
Item = TypeVar("Item")


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
            if is_shown():
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
    if not console.is_terminal or not is_shown():
        yield Progress(label, total, unit)
        return
    live = _LiveProgress(label, total, unit, console, _BRIEF_SECONDS if brief else 0.0)
    try:
        yield live
    finally:
        live.stop()


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
