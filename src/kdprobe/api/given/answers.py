"""Answers in any form: files, tables, lists of dicts, and records already read."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdprobe.api.results.result import Result
from kdprobe.errors import UsageError
from kdprobe.words import with_article

if TYPE_CHECKING:
    import pandas as pd

    from kdprobe.comparison.answers import Outputs
    from kdprobe.comparison.reading.columns import Columns


def read_answers(answers: Any, columns: Columns, encoding: str | None, name: str | None) -> Outputs:
    """Reads answers in any supported form.

    Args:
        answers: A path, a `pandas.DataFrame`, a sequence of mappings, or `Outputs`.
        columns: The columns to read.
        encoding: Encoding of a text file.
        name: Their name in messages; by default the file, or `table`.

    Raises:
        UsageError: They are of another type, or are a folder without exactly one file of answers; or as
            `kdprobe.comparison.read_outputs`.
        KdprobeError: As `kdprobe.comparison.read_outputs`.
    """
    from kdprobe.comparison.answers import Outputs, outputs_of, read_outputs

    if isinstance(answers, Outputs):
        return answers
    if _is_path(answers):
        file = _only_file(Path(answers)) if Path(answers).is_dir() else Path(answers)
        return read_outputs(file, columns, source=name, encoding=encoding)
    return outputs_of(rows_of(answers, "answers"), name or "table", columns)


def _only_file(folder: Path) -> Path:
    """The only file of answers in a folder that is passed as one set of answers."""
    from kdprobe.comparison.reading.folders import answer_files, no_answers_in

    files = answer_files(folder)
    if not files:
        raise no_answers_in(folder)
    if len(files) > 1:
        raise UsageError(
            f"The folder {folder} has {len(files)} .jsonl files.", f"Pass one of them, such as {files[0]}."
        )
    return files[0]


def expanded(given: Any) -> Iterator[Any]:
    """Expands lists of paths and folders of `.jsonl` files to their files, and an evaluation to files by name."""
    if isinstance(given, Result) and (answers := given._answers()):  # noqa: SLF001
        yield answers
    elif _is_path(given) and Path(given).is_dir():
        from kdprobe.comparison.reading.folders import answer_files

        # A run may have the same name as a folder without answers.
        yield from map(str, answer_files(Path(given)) or [given])
    elif isinstance(given, list | tuple) and given and all(map(_is_path, given)):
        for path in given:
            yield from expanded(path)
    else:
        yield given


def _is_path(given: Any) -> bool:
    return isinstance(given, str | os.PathLike)


def rows_of(table: Any, what: str) -> Iterator[dict[str, Any]]:
    """Returns the rows of a `pandas.DataFrame` or a sequence of mappings, as dicts of plain values.

    Missing cells are omitted from their row, like nulls in a file.

    Raises:
        UsageError: The table is neither of these.
    """
    import pandas as pd

    if isinstance(table, pd.DataFrame):
        yield from _frame_rows(table)
    elif isinstance(table, Sequence) and not isinstance(table, str | bytes):
        for index, row in enumerate(table):
            if not isinstance(row, Mapping):
                raise UsageError(
                    f"Row {index + 1} of the {what} is {with_article(type(row))}.", "Pass a dict for each row."
                )
            yield {str(name): value for name, value in row.items()}
    else:
        raise UsageError(
            f"The {what} are {with_article(type(table))}.",
            "Pass a path, a DataFrame, or a list with a dict for each row.",
        )


def _plain_column(column: pd.Series[Any]) -> pd.Series[Any]:
    """A column of plain values; numbers of single precision keep their digits."""
    from kdprobe.comparison.reading.table import as_written

    if column.dtype == "float32":
        return column.map(as_written, na_action="ignore").astype(object)
    return column.astype(object)


def _frame_rows(frame: pd.DataFrame) -> Iterator[dict[str, Any]]:
    import numpy as np

    if any(frame.index.names):
        # A named index is a column that pandas moved there.
        frame = frame.reset_index()
    names = [str(name) for name in frame.columns]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(f"The table has two columns called {repeated[0]!r}.", "Rename one of them.")
    cells = [_plain_column(frame.iloc[:, index]) for index in range(len(names))]
    known = [column.notna() for column in cells]
    for row in range(len(frame)):
        yield {
            name: value.tolist() if isinstance(value := column.iloc[row], np.generic | np.ndarray) else value
            for name, column, there in zip(names, cells, known, strict=True)
            if there.iloc[row]
        }
