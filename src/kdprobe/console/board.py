"""Progress of several tasks that run side by side in other processes: one line each."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

from kdprobe.console.bars import FIRST_LINE_SECONDS, PLAIN_INTERVAL_SECONDS
from kdprobe.console.messages import is_shown, note
from kdprobe.console.relay import Progressed
from kdprobe.console.streams import err, plain

if TYPE_CHECKING:
    from rich.console import Console, Group


class Board:
    """Shows a line for each task after two seconds, then at most one every ten."""

    def __init__(self) -> None:
        self._next_line: dict[str, float] = {}

    def show(self, key: str, progressed: Progressed) -> None:
        """Shows how far the task of `key` is."""
        now = time.monotonic()
        if now >= self._next_line.setdefault(key, now + FIRST_LINE_SECONDS):
            self._next_line[key] = now + PLAIN_INTERVAL_SECONDS
            note(f"{progressed.label}: {progressed.state}")

    def ended(self, key: str) -> None:
        """Stops showing the task of `key`."""
        self._next_line.pop(key, None)

    def foot(self, words: str) -> None:
        """Shows words about the whole below all tasks."""


class _LiveBoard(Board):
    """One bar for each task, and words below all of them, from the first time that there is something to show."""

    def __init__(self, console: Console) -> None:
        from rich.live import Live

        super().__init__()
        self._tasks: dict[str, Progressed] = {}
        self._foot = ""
        self._live = Live(console=console, transient=True, get_renderable=self._rendered, refresh_per_second=4)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        if self._live.is_started:
            self._live.stop()

    def show(self, key: str, progressed: Progressed) -> None:
        self._tasks[key] = progressed
        # Not before: tasks in this process have bars of their own.
        self._live.start()

    def ended(self, key: str) -> None:
        self._tasks.pop(key, None)

    def foot(self, words: str) -> None:
        self._foot = words

    def _rendered(self) -> Group:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        table = Table.grid(padding=(0, 1))
        table.add_column(no_wrap=True, overflow="ellipsis", ratio=2)
        table.add_column(width=12)
        table.add_column(no_wrap=True, overflow="ellipsis", ratio=3)
        table.expand = True
        for task in [*self._tasks.values()]:
            bar: Any = ProgressBar(total=task.total, completed=task.completed, width=12) if task.total else ""
            table.add_row(plain(task.label), bar, plain(task.state))
        return Group(table, plain(self._foot))


@contextmanager
def board() -> Iterator[Board]:
    """Shows tasks on stderr while the block runs: bars on a terminal, plain lines elsewhere."""
    console = err()
    if not (console.is_terminal and is_shown()):
        yield Board()
        return
    with _LiveBoard(console) as live:
        yield live
