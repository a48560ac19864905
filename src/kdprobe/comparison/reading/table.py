"""Reads a file of answers as a table: the columns of interest, and the line of each row."""

from __future__ import annotations

import lzma
import zlib
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any

from kdprobe.comparison.reading.delimited import DELIMITERS, Rows, delimited_rows
from kdprobe.comparison.reading.json_values import json_values
from kdprobe.comparison.reading.source import (
    MAGIC,
    Encoding,
    compression,
    encoding_of,
    head_of,
    legacy_encoding,
    open_text,
    undecodable_line,
)
from kdprobe.comparison.reading.tools.inspect_log import is_log, json_log_rows, zip_log_rows
from kdprobe.comparison.reading.zipped import SIGNATURES
from kdprobe.console import progress
from kdprobe.errors import KdprobeError, UsageError
from kdprobe.files import refuse_special
from kdprobe.limits import UNPACKED_GB

DELIMITED, JSON, PARQUET = (".csv", ".tsv", ".tab", ".txt"), (".json", ".jsonl", ".ndjson"), (".parquet",)
LOGS = (".eval",)
KINDS = f"{', '.join((*DELIMITED, *JSON))} (each also {', '.join(MAGIC)}), {', '.join(PARQUET)} and {', '.join(LOGS)}"
ENDINGS = (*DELIMITED, *JSON, *PARQUET, *LOGS, *MAGIC)
"""Extensions of the files that can be read."""
_PARQUET_MAGIC = b"PAR1"
_BATCH = 4_096
_ROWS_PER_GB = 10_000_000
"""More rows than fit into a gigabyte."""
_UNREADABLE = (OSError, ValueError, EOFError, zlib.error, lzma.LZMAError, RecursionError, MemoryError)
"""What reading a broken file raises, including pyarrow's errors."""


@dataclass
class Table:
    """A table by column.

    Attributes:
        file: The file it was read from.
        names: All columns of the file, in order of appearance.
        cells: Cells by column, for the requested columns; `None` for a missing cell.
        lines: The line on which each row begins; empty if the file has no lines.
        notes: Notes on how the file was read.
        size: Number of rows.
    """

    file: Path
    names: list[str] = field(default_factory=list)
    cells: dict[str, list[Any]] = field(default_factory=dict)
    lines: array[int] = field(default_factory=lambda: array("q"))
    notes: list[str] = field(default_factory=list)
    size: int = 0

    def only(self, rows: Sequence[int]) -> Table:
        """The table with only some of its rows."""
        cells = {name: [column[row] for row in rows] for name, column in self.cells.items()}
        lines = array("q", [self.lines[row] for row in rows] if self.lines else [])
        return Table(self.file, self.names, cells, lines, self.notes, len(rows))

    def place(self, index: int) -> str:
        """The location of a row, for messages."""
        row = f"row {index + 1}"
        return f"{self.file}, line {self.lines[index]}, {row}" if self.lines else f"{self.file}, {row}"


Change = Callable[[Rows], Rows]
"""A function that transforms rows as they are read."""


def read_table(file: Path, known: Callable[[str], bool], change: Change, encoding: str | None = None) -> Table:
    """Reads a file row by row.

    Args:
        file: The file.
        known: Whether a column of this name is kept.
        change: Transforms the rows; it is called again if the first attempt at decoding fails.
        encoding: The text's encoding, or `None` to detect it.

    Raises:
        KdprobeError: It cannot be read.
        UsageError: Its type is unknown.
    """
    try:
        head = head_of(file) if file.exists() else b""
        if head.startswith(SIGNATURES):
            return _gathered(Table(file), change(zip_log_rows(file)), known, with_lines=False)
        if not is_readable(file) and not head.startswith(_PARQUET_MAGIC):
            raise UsageError(f"The type of {file} is not supported.", f"Supported types: {KINDS}.")
        ending = _ending(file)
        if ending in PARQUET or head.startswith(_PARQUET_MAGIC):
            return _gathered(Table(file), change(_parquet_rows(file)), known, with_lines=False)
        return _text_table(file, ending, known, change, encoding_of(file, encoding), sure=encoding is not None)
    except _UNREADABLE as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error).partition("\n")[0]
        reason = reason.rstrip(".") or type(error).__name__
        raise KdprobeError(f"{file} cannot be read: {reason}.", "Check the path and the file.") from error


def is_readable(file: Path) -> bool:
    """Whether a file's name ends as one that can be read."""
    return _ending(file) in (*DELIMITED, *JSON, *PARQUET, *LOGS)


def _ending(file: Path) -> str:
    """The extension, without that of a compression."""
    return Path(file.name.lower().removesuffix(compression(file.name))).suffix


def table_of(records: Iterable[Mapping[str, Any]], name: str, known: Callable[[str], bool], change: Change) -> Table:
    """The same for rows in memory, which have no lines; `name` replaces the file in messages."""
    return _gathered(Table(Path(name)), change((0, dict(row)) for row in records), known, with_lines=False)


def _text_table(
    file: Path, ending: str, known: Callable[[str], bool], change: Change, encoding: Encoding, *, sure: bool
) -> Table:
    table = Table(file, notes=[encoding.note] if encoding.note else [])
    try:
        with open_text(file, encoding) as stream:
            if ending in (*JSON, *LOGS) or (ending == ".txt" and _is_json(file, encoding)):
                return _gathered(table, change(_json_rows(json_values(stream), known)), known)
            return _gathered(table, change(delimited_rows(stream, known, tabs_first=ending != ".csv")), known)
    except UnicodeDecodeError as error:
        if sure or encoding.name != "utf-8":
            line = undecodable_line(file, encoding)
            place = f"{file}, line {line}" if line else f"{file}"
            raise KdprobeError(
                f"{place}: the bytes are not valid {encoding.name}.", "Set the encoding with --encoding."
            ) from error
    return _text_table(file, ending, known, change, legacy_encoding(file), sure=True)


def _is_json(file: Path, encoding: Encoding) -> bool:
    """Whether a text file is JSON rather than a table."""
    with open_text(file, encoding) as stream:
        line = next((line.strip() for line in stream if line.strip()), "")
    if not line.startswith(("[", "{")) and not any(delimiter in line for delimiter in DELIMITERS):
        raise UsageError(f"{file} is neither JSON nor a table with a header.", f"Supported types: {KINDS}.")
    return line.startswith(("[", "{"))


def _json_rows(values: Iterator[tuple[int, Any]], known: Callable[[str], bool]) -> Rows:
    """Objects as rows. A single object that holds the rows, or the cells of each column, is split into rows."""
    first = list(islice(values, 2))
    if len(first) == 1 and is_log(first[0][1]):
        yield from json_log_rows(first[0][1])
        return
    if len(first) == 1 and isinstance(first[0][1], dict) and (inside := _rows_inside(first[0][1], known)):
        yield from ((0, row) for row in inside)
        return
    for line, value in chain(first, values):
        if not isinstance(value, dict):
            raise ValueError(f"line {line} is not a JSON object")  # noqa: TRY004 - the file is wrong, not the code
        yield line, value


def _rows_inside(value: dict[str, Any], known: Callable[[str], bool]) -> list[dict[str, Any]] | None:
    """The rows inside an object that is not a row itself, or `None`."""
    if {"columns", "data"} <= set(value) <= {"columns", "index", "data"}:
        return _split_rows(value["columns"], value["data"])
    if value and all(isinstance(inner, dict) for inner in value.values()):
        rows = list(value.values())
        if sum(map(known, rows[0])) > sum(map(known, value)):
            return rows
    columns = [list(inner.values()) if isinstance(inner, dict) else inner for inner in value.values()]
    if len(columns) > 1 and all(isinstance(column, list) for column in columns) and len({*map(len, columns)}) == 1:
        return [dict(zip(value, cells, strict=True)) for cells in zip(*columns, strict=True)]
    lists = [inner for inner in value.values() if isinstance(inner, list) and inner]
    inner = [rows for rows in lists if all(isinstance(row, dict) for row in rows)]
    # A completion has a list of objects too, but they are not rows.
    more = len(inner) == 1 and sum(map(known, inner[0][0])) > sum(map(known, value))
    return inner[0] if more else None


def _split_rows(columns: Any, data: Any) -> list[dict[str, Any]]:
    """The rows of a table as pandas writes it with `orient="split"`: names of columns, and a list for each row."""
    if not isinstance(columns, list) or not isinstance(data, list):
        raise ValueError("its 'columns' and 'data' are not lists")  # noqa: TRY004 - the file is wrong, not the code
    if repeated := sorted({str(name) for name in columns if columns.count(name) > 1}):
        raise ValueError(f"two columns are called {repeated[0]!r}")
    for index, cells in enumerate(data, start=1):
        if not isinstance(cells, list) or len(cells) != len(columns):
            raise ValueError(f"row {index} of its 'data' does not have a cell for each of its {len(columns)} 'columns'")
    return [dict(zip(map(str, columns), cells, strict=True)) for cells in data]


def _parquet_rows(file: Path) -> Rows:
    import pyarrow.parquet as pq

    refuse_special(file)
    with pq.ParquetFile(file) as parquet:
        if (rows := parquet.metadata.num_rows) > UNPACKED_GB.value * _ROWS_PER_GB:
            raise ValueError(
                f"it has {rows} rows, more than the limit of {UNPACKED_GB.value:g} GB allows ({_ROWS_PER_GB:,} rows "
                f"per GB). {UNPACKED_GB.hint}"
            )
        short = [field.name for field in parquet.schema_arrow if str(field.type) == "float"]
        for batch in parquet.iter_batches(batch_size=_BATCH):
            for row in batch.to_pylist():
                yield 0, row | {name: as_written(row[name]) for name in short if row[name] is not None}


def as_written(value: float) -> float:
    """A number of single precision as a double with the same digits: 0.1 rather than 0.10000000149011612."""
    import numpy as np

    return float(str(np.float32(value)))


def _gathered(table: Table, rows: Rows, known: Callable[[str], bool], *, with_lines: bool = True) -> Table:
    """Gathers rows into columns."""
    seen: dict[str, bool] = {}
    with progress(f"Reading {table.file}", brief=True) as bar:
        for line, row in bar.over(rows):
            for name, value in row.items():
                if name not in seen:
                    seen[name] = known(name)
                    if seen[name]:
                        table.cells[name] = [None] * table.size
                if seen[name]:
                    _append(table.cells[name], value)
            table.size += 1
            for column in table.cells.values():
                if len(column) < table.size:
                    column.append(None)
            if with_lines and line:
                table.lines.append(line)
    table.names = list(seen)
    return table


def _append(column: list[Any], value: Any) -> None:
    """Appends a cell; one equal to the cell above shares its object."""
    last = column[-1] if column else None
    column.append(last if type(last) is type(value) and last == value else value)
