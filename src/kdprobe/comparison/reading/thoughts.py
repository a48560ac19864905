"""What models thought, put before their answers between marks, wherever a file has it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kdprobe.comparison.reading.cells import text
from kdprobe.comparison.reading.columns import THINKING, THINKING_CLOSED, THINKING_TOKENS, find
from kdprobe.comparison.reading.table import Table
from kdprobe.models.thinking import has_lost_opening, has_marks, marked, split_thinking

_BY_PROMPT = 0.05
"""From this share on, answers that only end thinking were begun by their prompt; fewer are accidents."""


def with_thinking(table: Table, responses: Sequence[str], name: str) -> list[str]:
    """Responses as one text each, the thinking of a column of its own before them.

    Where prompts begin the thinking, answers hold only the mark that ends it, and one without that mark is thinking to
    its end. The table's notes say where that was found out from the other answers.

    Args:
        table: Where they are from.
        responses: What the column of responses holds.
        name: That column.
    """
    closed = next((_flags(table.cells[column]) for column in find(table, THINKING_CLOSED)), [None] * table.size)
    column = next((column for column in find(table, THINKING) if column != name and _has_texts(table, column)), None)
    thoughts: list[str | None] = [None] * table.size
    if column is not None:
        table.notes.append(f"What the model thought before its answer is read from {column!r}.")
        thoughts = [cell if isinstance(cell, str) else None for cell in table.cells[column]]
    whole = [
        marked(thought, response, closed=ended)
        for thought, response, ended in zip(thoughts, responses, closed, strict=True)
    ]
    return _noted(table, whole if any(ended is not None for ended in closed) else _as_begun_by_prompts(table, whole))


def _flags(cells: Sequence[Any]) -> list[bool | None]:
    return [{"true": True, "1": True, "false": False, "0": False}.get(text(cell).strip().lower()) for cell in cells]


def _has_texts(table: Table, column: str) -> bool:
    return any(isinstance(cell, str) and cell.strip() for cell in table.cells[column])


def _noted(table: Table, responses: list[str]) -> list[str]:
    """The same, with a note where no answer ends its thinking: it may have been cut off when they were written."""
    if responses and not any(split_thinking(response).closed for response in responses):
        table.notes.append(
            "No answer ends its thinking, so there is none to read. If a tool cut the thinking off (lm-eval's "
            "think_end_token does), these are answers: generate them without that."
        )
    return responses


def _as_begun_by_prompts(table: Table, responses: list[str]) -> list[str]:
    ended = sum(map(has_lost_opening, responses))
    if ended <= _BY_PROMPT * len(responses):
        return responses
    begun = [
        response if not response.strip() or has_marks(response) else f"<think>{response}" for response in responses
    ]
    changed = sum(before != after for before, after in zip(responses, begun, strict=True))
    if changed:
        table.notes.append(
            f"{ended} answers end thinking that they do not begin, so their prompts do; {changed} that do not end it "
            "count as thinking to the end."
        )
    return begun


def thinking_tokens(table: Table) -> list[int] | None:
    """Tokens of thinking of each answer, or `None` where no column has them."""
    for column in find(table, THINKING_TOKENS):
        try:
            return [round(float(cell)) if (cell := text(value).strip()) else 0 for value in table.cells[column]]
        except ValueError:
            table.notes.append(f"{column!r} holds something else than numbers and is left out.")
    return None
