"""The layout of tables and lists in the terminal, and data on stdout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from kdprobe.api.results.result import json_text
from kdprobe.console import out, plain

if TYPE_CHECKING:
    from rich.table import Table

    from kdprobe.stats.intervals import Interval


def new_table(title: str, *columns: str) -> Table:
    """Returns an empty table."""
    from rich.table import Table

    table = Table(title=f"\n{title}", title_justify="left", title_style="bold", box=None, padding=(0, 2, 0, 0))
    for column in columns:
        # Folded, not truncated, because a shortened name may be another name.
        table.add_column(column, overflow="fold")
    return table


def sentence_list(title: str, sentences: Sequence[str]) -> None:
    """Prints sentences under a title, if there are any."""
    if not sentences:
        return
    from rich.padding import Padding

    console = out()
    console.print(f"\n{title}", style="bold")
    for sentence in sentences:
        console.print(Padding(plain(sentence), (0, 0, 0, 2)))


def points(interval: Interval, form: str = ".1f") -> str:
    """An interval of shares in percent, or "too few" values."""
    return f"{interval.low * 100:{form}} to {interval.high * 100:{form}}" if interval.known else "too few"


def nats(interval: Interval, form: str = ".2f") -> str:
    """An interval of log-probabilities, or "too few" values."""
    return f"{interval.low:{form}} to {interval.high:{form}}" if interval.known else "too few"


def share(value: float | None, form: str = ".1%") -> str:
    """A share in percent, or "unknown"."""
    return "unknown" if value is None else f"{value:{form}}"


def print_json(data: Any) -> None:
    """Prints data on stdout; NaN and infinities become null."""
    click.echo(json_text(data))
