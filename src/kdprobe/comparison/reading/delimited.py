"""Reads tables as text: CSV with commas, semicolons, tabs or bars, regardless of the file's name."""

from __future__ import annotations

import csv
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any, TextIO

from kdprobe.words import counted

DELIMITERS = ",;\t|"
_STATED = re.compile(r'\s*"?sep=(.)"?\s*')
"""A first line in which spreadsheets declare their delimiter."""
_RULE = re.compile(r"\s*(?::?-{3,}:?\s*)?")
"""A cell of the line below the header of a table in Markdown."""
_LONGEST = min(sys.maxsize, 2**31 - 1)

Rows = Iterator[tuple[int, dict[str, Any]]]
"""The line on which each row begins, and its cells by column."""


def delimited_rows(stream: TextIO, known: Callable[[str], bool], *, tabs_first: bool = False) -> Rows:
    """The rows of a table with a header; empty rows are skipped.

    The delimiter is the one that yields the most known column names, then the one that yields the most columns.

    Args:
        stream: The text, with its original line ends.
        known: Whether a column of this name is of interest.
        tabs_first: Whether tabs win a tie with commas.

    Raises:
        ValueError: A row has more or fewer cells than the header, or quotes do not match.
    """
    skipped, first = _first_line(stream)
    delimiter = None
    if stated := _STATED.fullmatch(first):
        delimiter = stated[1]
        more, first = _first_line(stream)
        skipped += 1 + more
    if not first:
        raise ValueError("it is empty")
    delimiter = delimiter or _delimiter(first, known, tabs_first=tabs_first)
    csv.field_size_limit(_LONGEST)
    reader = csv.reader(chain([first], stream), delimiter=delimiter, strict=True)
    header: list[str] = []
    begins = skipped + 1
    try:
        for cells in reader:
            if not header:
                header = _header(cells, known)
            elif any(map(str.strip, cells)) and not (delimiter == "|" and all(map(_RULE.fullmatch, cells))):
                if [cell.strip() for cell in cells] == header:
                    raise ValueError(f"line {begins} repeats the header, so the file has several tables; split it")
                if len(cells) != len(header):
                    raise ValueError(
                        f"line {begins} has {counted(len(cells), 'cell')}, but the header has {len(header)}"
                    )
                yield begins, dict(zip(header, cells, strict=True))
            begins = skipped + reader.line_num + 1
    except csv.Error as error:
        why = "a quote is not closed" if "end of data" in str(error) else f"quotes do not match ({error})"
        raise ValueError(f"in the row that begins on line {begins}, {why}") from error


def _first_line(stream: TextIO) -> tuple[int, str]:
    """The number of leading empty lines, and the line after them; empty if there is none."""
    for skipped, line in enumerate(stream):
        if line.strip():
            return skipped, line
    return 0, ""


def _delimiter(line: str, known: Callable[[str], bool], *, tabs_first: bool) -> str:
    def fit(delimiter: str) -> tuple[int, int, bool]:
        names = next(csv.reader([line], delimiter=delimiter), [])
        return sum(known(name) for name in names), len(names), tabs_first and delimiter == "\t"

    return max(DELIMITERS, key=fit)


def _header(cells: list[str], known: Callable[[str], bool]) -> list[str]:
    names = [name.strip() for name in cells]
    for name, count in Counter(names).items():
        if count > 1 and known(name):
            raise ValueError(f"{count} columns are called {name!r}")
    return names
