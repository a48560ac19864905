"""Puts models' thinking before their answers, between marks, wherever the file stores it."""

from __future__ import annotations

from collections.abc import Sequence

from kdprobe.comparison.reading.cells import flag, text
from kdprobe.comparison.reading.columns import THINKING, THINKING_CLOSED, THINKING_TOKENS, find
from kdprobe.comparison.reading.table import Table
from kdprobe.models.thinking import has_lost_opening, has_marks, marked, split_thinking
from kdprobe.words import counted

_BY_PROMPT = 0.05
"""If more than this share of the answers end thinking that they did not begin, the prompts must have begun it; a
smaller share is taken as accidental."""


def with_thinking(table: Table, responses: Sequence[str], name: str) -> list[str]:
    """Responses as one text each, preceded by the thinking if that has a column of its own.

    If the prompts begin the thinking, answers have only the mark that ends it, and an answer without that mark is
    thinking throughout. The table's notes say if this was inferred from the other answers.

    Args:
        table: The table.
        responses: The cells of the response column.
        name: The response column.
    """
    closed = next(([*map(flag, table.cells[column])] for column in find(table, THINKING_CLOSED)), [None] * table.size)
    column = next((column for column in find(table, THINKING) if column != name and _has_texts(table, column)), None)
    thoughts: list[str | None] = [None] * table.size
    if column is not None:
        table.notes.append(f"The model's thinking is read from the column {column!r}.")
        thoughts = [cell if isinstance(cell, str) else None for cell in table.cells[column]]
    whole = [
        marked(thought, response, closed=ended)
        for thought, response, ended in zip(thoughts, responses, closed, strict=True)
    ]
    return _noted(table, whole if any(ended is not None for ended in closed) else _as_begun_by_prompts(table, whole))


def _has_texts(table: Table, column: str) -> bool:
    return any(isinstance(cell, str) and cell.strip() for cell in table.cells[column])


def _noted(table: Table, responses: list[str]) -> list[str]:
    """The same responses, with a note if no answer ends its thinking: a tool may have removed it."""
    if responses and not any(split_thinking(response).closed for response in responses):
        table.notes.append(
            "No response ends its thinking, so there is no answer to read. If a tool removed the thinking (lm-eval's "
            "think_end_token does), generate the answers again without that option."
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
            f"{counted(ended, 'answer contains', 'answers contain')} the marker that ends thinking but not the one "
            "that begins it, so the opening marker is presumably in the prompts. Therefore "
            f"{counted(changed, 'answer')} with neither marker {'is' if changed == 1 else 'are'} read as thinking that "
            "never ended."
        )
    return begun


def thinking_tokens(table: Table) -> list[int] | None:
    """Tokens of thinking in each answer, or `None` if no column has them."""
    for column in find(table, THINKING_TOKENS):
        try:
            return [round(float(cell)) if (cell := text(value).strip()) else 0 for value in table.cells[column]]
        except (ValueError, OverflowError):
            table.notes.append(f"The column {column!r} is ignored: not every cell is a number.")
    return None
