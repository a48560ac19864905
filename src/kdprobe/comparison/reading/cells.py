"""Reads the cells of a column as text: as they are, extracted from a reply, or rejected with column and row."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from kdprobe.comparison.reading.replies import is_marked, is_printed_object, samples, written_value
from kdprobe.comparison.reading.table import Table
from kdprobe.errors import KdprobeError
from kdprobe.words import counted, with_article

ROLES = {"response": "responses", "gold": "gold answers", "id": "ids"}
"""What a column holds, by the name of its option."""
_FLAGS = dict.fromkeys(("true", "t", "yes", "y", "1", "1.0"), True) | dict.fromkeys(
    ("false", "f", "no", "n", "0", "0.0"), False
)


def response_texts(table: Table, name: str) -> list[str]:
    """The text the model wrote in each row; the first of several samples, with a note on the table.

    Replies that the table has as text become objects in it.

    Raises:
        KdprobeError: A cell holds neither text nor a reply in a known format.
    """
    texts, most, silent = [], 1, 0
    cells = table.cells[name] = _opened(table.cells[name])
    if _is_all_json(cells):
        table.notes.append(f"{name!r} contains a JSON object in every row; it is read as text.")
    for index, cell in enumerate(cells):
        written = _samples(table, name, index, cell, "response")
        texts.append(written[0] if written else "")
        most = max(most, len(written))
        silent += isinstance(cell, list | dict) and not any(written)
    if most > 1:
        table.notes.append(f"{name!r} contains up to {most} samples per row; only the first is scored.")
    if silent:
        holds = "1 reply has" if silent == 1 else f"{silent} replies have"
        outcome = "it counts as an empty answer" if silent == 1 else "they count as empty answers"
        table.notes.append(f"{holds} no text, perhaps from a failed request; {outcome}.")
    return texts


def gold_texts(table: Table, name: str) -> list[str]:
    """The gold answer of each row.

    Raises:
        KdprobeError: A cell holds neither text nor a number, or several values.
    """
    texts = []
    for index, cell in enumerate(_opened(table.cells[name])):
        values = _samples(table, name, index, cell, "gold")
        if len(values) > 1:
            raise KdprobeError(
                f"{table.place(index)}: the cell in the column {name!r} contains {len(values)} gold values.",
                "A problem must have exactly one gold value: keep one, or select another column with --gold-column.",
            )
        texts.append(values[0] if values else "")
    return texts


def id_texts(table: Table, name: str) -> list[str]:
    """The ids as text.

    Raises:
        KdprobeError: A cell holds a list or an object.
    """
    for index, cell in enumerate(table.cells[name]):
        if isinstance(cell, list | dict):
            raise _refused(table, name, index, cell, "id")
    return list(map(text, table.cells[name]))


def question_texts(table: Table, name: str) -> list[str]:
    """The question of each row: the last turn of a conversation, the JSON of other lists and objects."""

    def asked(cell: Any) -> str:
        last = cell[-1] if isinstance(cell, list) and cell else None
        value = last.get("content", last.get("value")) if isinstance(last, dict) else cell
        return json.dumps(value, sort_keys=True, default=str) if isinstance(value, list | dict) else text(value)

    return list(map(asked, table.cells[name]))


def text(value: Any) -> str:
    """A cell as text; a missing value, NaN and null are empty."""
    if isinstance(value, str):
        return value
    return "" if value is None or value != value else str(value)  # noqa: PLR0124 - only NaN differs from itself


def flag(value: Any) -> bool | None:
    """A cell as true or false, however it is written; `None` for anything else, and for an empty cell."""
    return _FLAGS.get(text(value).strip().lower())


def _opened(cells: list[Any]) -> list[Any]:
    """Cells with replies parsed, where these were written as text (JSON, or as Python prints it).

    A model may write JSON itself, so a text is parsed as a reply only if every text of the column is one, or if it has
    the keys of a server's reply. If every row is a nested object, the column was written by a tool, even if we do not
    know which.
    """
    if not all(isinstance(cell, str) or cell is None for cell in cells):
        return cells
    values = [written_value(cell) if cell else None for cell in cells]
    if not any(values):
        return cells
    nested = all(_is_nested(value) or not cell for value, cell in zip(values, cells, strict=True))
    replies = [value is not None and samples(value) is not None for value in values]
    everywhere = all(reply or not cell for reply, cell in zip(replies, cells, strict=True))
    return [
        value if cell and (nested or (reply and (everywhere or is_marked(value)))) else cell
        for cell, value, reply in zip(cells, values, replies, strict=True)
    ]


def _is_nested(value: Any) -> bool:
    return isinstance(value, dict) and any(isinstance(inner, list | dict) for inner in value.values())


def _is_all_json(cells: Sequence[Any]) -> bool:
    """Whether every text is a JSON object that is not a reply."""
    texts = [cell for cell in cells if cell]
    return bool(texts) and all(isinstance(cell, str) and isinstance(written_value(cell), dict) for cell in texts)


def _samples(table: Table, name: str, index: int, cell: Any, role: str) -> list[str]:
    found = samples(cell)
    if found is None or (isinstance(cell, str) and is_printed_object(cell)):
        raise _refused(table, name, index, cell, role)
    return found


def _refused(table: Table, name: str, index: int, cell: Any, role: str) -> KdprobeError:
    if isinstance(cell, dict):
        holds = f"an object ({', '.join(map(str, list(cell)[:6])) or 'empty'})"
    elif isinstance(cell, list):
        holds = f"a list of {counted(len(cell), 'item')}"
    else:
        holds = "a printed Python object" if isinstance(cell, str) else with_article(type(cell))
    return KdprobeError(
        f"{table.place(index)}: the cell in the column {name!r} contains {holds}, which cannot be read as text.",
        f"Select the column of {ROLES[role]} with --{role}-column, or store this column as plain text in the file.",
    )
