"""Sections of a displayed result, as HTML in a notebook and as text elsewhere. Text is never markup."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

_MOST_ROWS = 12
_LONGEST = 1000
_LONGEST_CELL = 40


@dataclass(frozen=True)
class Listed:
    """Sentences under a title; shown only if there are any."""

    title: str
    sentences: Sequence[str]

    def html(self) -> str:
        """The title and a list as HTML."""
        items = "".join(f"<li>{_escaped(sentence)}</li>" for sentence in self.sentences)
        return f"<p><b>{_escaped(self.title)}</b></p><ul>{items}</ul>" if items else ""

    def lines(self) -> list[str]:
        """The title and a line per sentence."""
        items = [f"  - {_line(sentence, _LONGEST)}" for sentence in self.sentences]
        return [f"{_line(self.title, _LONGEST)}:", *items] if items else []


@dataclass(frozen=True)
class Tabled:
    """A table under a title; shown only if it has rows.

    Attributes:
        title: Its title.
        table: The table.
        columns: The columns to show; those that the table lacks are skipped.
        known: Columns among these that are shown only if a value in them is known and not zero.
    """

    title: str
    table: pd.DataFrame
    columns: Sequence[str]
    known: Sequence[str] = ()

    def html(self) -> str:
        """The title and the table with all its rows."""
        if self.table.empty:
            return ""
        head = "".join(f"<th>{_escaped(name)}</th>" for name in self._shown)
        rows = "".join(
            f"<tr>{''.join(f'<td>{_escaped(_cell(value))}</td>' for value in row)}</tr>"
            for row in self.table[self._shown].itertuples(index=False)
        )
        return f"<p><b>{_escaped(self.title)}</b></p><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"

    def lines(self) -> list[str]:
        """The title and the first rows, in aligned columns."""
        if self.table.empty:
            return []
        first = self.table[self._shown].head(_MOST_ROWS).itertuples(index=False)
        rows = [self._shown, *([_line(_cell(value), _LONGEST_CELL) for value in row] for row in first)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        aligned = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
        left = len(self.table) - _MOST_ROWS
        more = [f"  ... and {left} more rows"] if left > 0 else []
        return [f"{_line(self.title, _LONGEST)}:", *(f"  {line}".rstrip() for line in aligned), *more]

    @property
    def _shown(self) -> list[str]:
        there = [name for name in self.columns if name in self.table.columns]
        return [name for name in there if name not in self.known or self.table[name].fillna(0).any()]


Section = Listed | Tabled


def _cell(value: Any) -> str:
    if value is None or value != value:  # noqa: PLR0124 - not a number
        return "unknown"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _escaped(text: str) -> str:
    from kdprobe.console.streams import visible

    return html.escape(visible(text))


def _line(text: str, longest: int) -> str:
    """Text on a single line without control characters; the middle of very long text is left out."""
    from kdprobe.console.streams import shortened, visible

    return shortened(" ".join(visible(text).split()), longest)
