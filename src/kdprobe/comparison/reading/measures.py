"""Reads columns that a file may have besides the answers: labels, measures and counts."""

from __future__ import annotations

import math
from collections.abc import Sequence

from kdprobe.comparison.reading.cells import text
from kdprobe.comparison.reading.columns import SAMPLE, find
from kdprobe.comparison.reading.table import Table


def texts(table: Table, names: Sequence[str]) -> list[str] | None:
    """A column's cells as text, or `None` if the column is missing, empty or contains anything else."""
    cells = next((table.cells[name] for name in find(table, names)), [])
    found = [] if any(isinstance(cell, list | dict) for cell in cells) else list(map(text, cells))
    return found if any(found) else None


def numbers(table: Table, names: Sequence[str]) -> list[float] | None:
    """A column's cells as numbers, or `None` if one is missing; a column of anything else is ignored with a note."""
    found = texts(table, names)
    if found is None or not all(found):
        return None
    try:
        return list(map(float, found))
    except ValueError:
        table.notes.append(f"The column {find(table, names)[0]!r} is ignored: not every cell is a number.")
        return None


def counts(table: Table, names: Sequence[str]) -> list[int] | None:
    """The same for whole numbers, none of which may be infinite or NaN."""
    found = numbers(table, names)
    if found is None or all(map(math.isfinite, found)):
        return None if found is None else list(map(round, found))
    table.notes.append(f"The column {find(table, names)[0]!r} is ignored: not every cell is a finite number.")
    return None


def sample_numbers(table: Table, problems: Sequence[str] | None) -> list[int] | None:
    """The number of each row among the answers to its problem.

    Args:
        table: The table.
        problems: The problem of each row, by id or question, or `None`.

    Returns:
        The numbers, or `None` if each problem has one row, or if no column numbers the rows of each problem.
    """
    if problems is None or len(set(problems)) == len(problems):
        return None
    for name in find(table, SAMPLE):
        numbers = counts(table, (name,))
        if numbers is not None and len({*zip(problems, numbers, strict=True)}) == table.size:
            return numbers
    return None
