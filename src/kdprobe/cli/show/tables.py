"""The layout of tables and lists in the terminal, and data on stdout.

Tables never break a word as long as it fits on a line. Columns are narrowed down to their longest word; if the terminal
is too narrow even for that, every row becomes a block with one line for each column.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from kdprobe.api.results.result import json_text
from kdprobe.console.streams import out, plain

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from kdprobe.stats.intervals import Interval


_GAP = 2
"""Spaces between columns."""


def new_table(title: str, *columns: str) -> Table:
    """Returns an empty table, for `print_table`."""
    from rich.table import Table

    table = Table(
        title=f"\n{title}", title_justify="left", title_style="bold", box=None, padding=(0, _GAP, 0, 0), pad_edge=False
    )
    for column in columns:
        # Folded, not truncated, because a shortened name may be another name.
        table.add_column(column, overflow="fold")
    return table


def print_table(table: Table) -> None:
    """Prints a table, with a block for each row if its columns do not fit next to each other."""
    console = out()
    cells = [[column.header, *column.cells] for column in table.columns]
    widths = column_widths([[str(cell) for cell in column] for column in cells], console.width)
    if widths is None:
        _print_blocks(console, str(table.title), cells)
        return
    for column, width in zip(table.columns, widths, strict=True):
        column.width = width
    console.print(table)


def column_widths(columns: Sequence[Sequence[str]], available: int) -> list[int] | None:
    """The widths of columns in which no word is broken, in characters.

    Args:
        columns: The cells of each column, after its header.
        available: The width of the terminal in characters.

    Returns:
        Widths that add up to at most the available width with the gaps between them, or `None` if the longest words
        of all columns do not fit.
    """
    widths = [max(_longest(cell.split()) for cell in cells) for cells in columns]
    spare = available - _GAP * (len(columns) - 1) - sum(widths)
    if spare < 0:
        return None
    for first in (1, 0):  # Headers wrap before cells do.
        goals = [max((_longest(cell.split("\n")) for cell in cells[first:]), default=0) for cells in columns]
        wanting = sorted(range(len(columns)), key=lambda index: goals[index] - widths[index])
        for served, index in enumerate(wanting):
            wanted = max(goals[index] - widths[index], 0)
            # Columns that want little come first; those that cannot have all they want share what is left.
            given = wanted if wanted <= spare else spare // (len(columns) - served)
            widths[index] += given
            spare -= given
    return widths


def _longest(parts: Sequence[str]) -> int:
    from rich.cells import cell_len

    return max(map(cell_len, parts), default=0)


def _print_blocks(console: Console, title: str, columns: Sequence[Sequence[Any]]) -> None:
    """Prints each row as a block: its first cell, then a line for each further column."""
    from rich.padding import Padding
    from rich.table import Table

    console.print(title, style="bold")
    headers, *rows = zip(*columns, strict=True)
    for name, *values in rows:
        console.print(plain(f"{name}"))
        block = Table.grid(padding=(0, _GAP, 0, 0))
        block.add_column(no_wrap=True)
        block.add_column(overflow="fold")
        for header, value in zip(headers[1:], values, strict=True):
            block.add_row(" ".join(header.split()), value)
        console.print(Padding(block, (0, 0, 0, _GAP)))


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
    """An interval of shares in percent, or "too few problems"."""
    return f"{interval.low * 100:{form}} to {interval.high * 100:{form}}" if interval.known else "too few problems"


def nats(interval: Interval, form: str = ".2f") -> str:
    """An interval of log-probabilities, or "no interval"."""
    return f"{interval.low:{form}} to {interval.high:{form}}" if interval.known else "no interval"


def share(value: float | None, form: str = ".1%") -> str:
    """A share in percent, or "unknown"."""
    return "unknown" if value is None else f"{value:{form}}"


def print_json(data: Any) -> None:
    """Prints data to stdout; NaN and infinities become null."""
    click.echo(json_text(data))
