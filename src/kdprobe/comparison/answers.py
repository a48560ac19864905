"""Reads existing answers from files of model outputs.

Text is kept as written: an empty cell is an empty answer, and `nan` is text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

from kdprobe.comparison.reading.cells import flag, gold_texts, id_texts, question_texts, response_texts, text
from kdprobe.comparison.reading.columns import (
    CUT_OFF,
    PROMPT_HASH,
    QUESTION,
    TOKENS,
    Columns,
    choose,
    find,
    stated_columns,
)
from kdprobe.comparison.reading.lm_eval import GOLD, ID, LmEvalRows
from kdprobe.comparison.reading.table import Table, read_table, table_of
from kdprobe.comparison.reading.thoughts import thinking_tokens, with_thinking
from kdprobe.errors import KdprobeError
from kdprobe.problems.gold import gold_text, gold_value

CONDITIONS = "conditions"
GOLD_SOLUTION = ("log_p_gold_solution", "gold_tokens")
ANY_COLUMNS = Columns()
_WHOLE_FLOAT = re.compile(r"-?\d+\.0")


@dataclass(frozen=True)
class Outputs:
    """Answers of one model to problems.

    Attributes:
        file: The file or stage they come from.
        responses: The text the model wrote, with thinking marked as in `kdprobe.models.thinking`; empty if there is
            none.
        gold: The gold values, as written in the data.
        ids: The id of each problem, or `None`.
        questions: The question of each problem, or `None`.
        groups: The template or family of each problem, or `None`.
        cut_off: Whether each answer reached the token budget, or `None` if unknown.
        tokens: Tokens of each answer, or `None`.
        thinking_tokens: Tokens of thinking in each answer, 0 if there is none, or `None`.
        log_p_gold_value: log p(gold value) of each problem, in nats, or `None`.
        log_p_gold_solution: Mean log-probability per token of each gold solution, in nats, or `None`.
        conditions: What determined the answers besides the model, where known: `budget`, `prompt`, `decoding`, `task`
            and `versions`, each mapping aspects to values.
        columns: The columns for `response`, `gold` and `id`; `None` for a column that is missing.
        notes: Notes on how the file was read.
        metric: The lm-eval metric that judged the answers, or `None` if an extractor judges them.
        right: Whether that metric judged each answer correct, or `None`.
        prompts: lm-eval's hash of each prompt, or `None`.
    """

    file: str
    responses: list[str]
    gold: list[str]
    ids: list[str] | None = None
    questions: list[str] | None = None
    groups: list[str] | None = None
    cut_off: list[bool] | None = None
    tokens: list[int] | None = None
    thinking_tokens: list[int] | None = None
    log_p_gold_value: list[float] | None = None
    log_p_gold_solution: list[float] | None = None
    conditions: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    columns: Mapping[str, str | None] = field(default_factory=dict)
    notes: Sequence[str] = ()
    metric: str | None = None
    right: list[bool] | None = None
    prompts: list[str] | None = None

    @cached_property
    def gold_without_value(self) -> int:
        """Number of gold values that are not a single number, so that no answer can match them."""
        return sum(gold_value(gold) is None for gold in self.gold)

    @property
    def keys(self) -> list[str]:
        """The key of each problem: its id; without one, its question; without either, its index in the file."""
        return self.ids or self.questions or [str(index) for index in range(len(self.responses))]


def read_outputs(
    file: str | PathLike[str], columns: Columns = ANY_COLUMNS, *, source: str | None = None, encoding: str | None = None
) -> Outputs:
    """Reads a file of answers: any table, lm-eval's samples, or the records of an evaluation.

    Args:
        file: The file.
        columns: The columns to read.
        source: A name for the answers in messages; by default the file.
        encoding: The encoding of a text file, as Python names it; detected by default.

    Raises:
        KdprobeError: It cannot be read, is empty, lacks a gold value, or has a cell without text.
        UsageError: A column is missing or ambiguous.
    """
    rows = LmEvalRows(columns)
    return _read(read_table(Path(file), rows.known, rows.read, encoding), source or str(file), rows, columns)


def outputs_of(records: Iterable[Mapping[str, Any]], source: str, columns: Columns = ANY_COLUMNS) -> Outputs:
    """Reads answers in memory, one mapping per answer, as if from a file.

    Args:
        records: The answers.
        source: Their name in messages.
        columns: The columns to read.

    Raises:
        KdprobeError: As `read_outputs`.
        UsageError: As `read_outputs`.
    """
    rows = LmEvalRows(columns)
    return _read(table_of(records, source, rows.known, rows.read), source, rows, columns)


def _read(table: Table, source: str, rows: LmEvalRows, columns: Columns) -> Outputs:
    if not table.size:
        raise KdprobeError(f"{table.file} has no answers.", "Provide one row per answer.")
    columns = stated_columns(table, columns)
    judged = rows.metric(table, extracted=columns.response is not None) if rows.found else None
    chosen = Columns(None, columns.gold or GOLD, columns.id or ID) if judged else choose(table, columns)
    return _outputs(table, source, rows, chosen, judged)


def _outputs(
    table: Table, source: str, rows: LmEvalRows, columns: Columns, judged: tuple[str, list[bool]] | None
) -> Outputs:
    metric, right = judged or (None, None)
    responses = [""] * table.size
    if columns.response:
        responses = with_thinking(table, response_texts(table, columns.response), columns.response)
    tokens = _numbers(table, TOKENS)
    log_p, solution, size = (_numbers(table, (name,)) for name in ("log_p_gold_value", *GOLD_SOLUTION))
    named = {"response": columns.response, "gold": columns.gold, "id": columns.id}
    return Outputs(
        file=source,
        responses=responses,
        gold=_gold(table, columns.gold, needed=not metric),
        ids=_ids(table, columns.id),
        questions=_questions(table),
        groups=_texts(table, ("group",)),
        cut_off=_cut_off(table),
        tokens=[round(value) for value in tokens] if tokens else None,
        thinking_tokens=thinking_tokens(table),
        log_p_gold_value=log_p,
        log_p_gold_solution=per_token(solution, size),
        conditions=rows.conditions or _conditions(table),
        columns=named | ({"metric": metric} if metric else {}),
        notes=(*rows.notes(metric), *table.notes),
        metric=metric,
        right=right,
        prompts=_texts(table, (PROMPT_HASH,)),
    )


def per_token(solutions: Sequence[float] | None, tokens: Sequence[float] | None) -> list[float] | None:
    """Log-probabilities of whole solutions, divided by their tokens."""
    if solutions is None or tokens is None or not all(tokens):
        return None
    return [log_p / size for log_p, size in zip(solutions, tokens, strict=True)]


def _gold(table: Table, name: str | None, *, needed: bool) -> list[str]:
    """The gold values; equal ones share one string."""
    if name is None or name not in table.cells:
        return [""] * table.size
    kept: dict[str, str] = {}
    values = [kept.setdefault(value, value) for value in map(gold_text, gold_texts(table, name))]
    if needed and "" in values:
        raise KdprobeError(
            f"{table.place(values.index(''))}: the column {name!r} has no gold value.",
            "Add it, or select the right column with --gold-column.",
        )
    return values


def _ids(table: Table, name: str | None) -> list[str] | None:
    """The ids as text; 3.0 is read as 3, because pandas writes integers that way in columns with gaps."""
    if name is None or name not in table.cells:
        return None
    ids = id_texts(table, name)
    return [id_[:-2] for id_ in ids] if all(map(_WHOLE_FLOAT.fullmatch, ids)) else ids


def _conditions(table: Table) -> dict[str, dict[str, str]]:
    """How answers were generated, if the file says so and all rows agree."""
    cells = table.cells.get(CONDITIONS, [])
    first = cells[0] if cells else None
    if not isinstance(first, dict) or any(row is not first and row != first for row in cells):
        return {}
    return {kind: _aspects(aspects) for kind, aspects in first.items() if aspects}


def _aspects(aspects: Mapping[str, Any]) -> dict[str, str]:
    return {str(name): str(value) for name, value in aspects.items() if value is not None}


def _questions(table: Table) -> list[str] | None:
    asked = (question_texts(table, name) for name in find(table, QUESTION))
    return next((questions for questions in asked if any(questions)), None)


def _texts(table: Table, names: Sequence[str]) -> list[str] | None:
    """A column's cells as text, or `None` if the column is missing, empty or contains anything else."""
    cells = next((table.cells[name] for name in find(table, names)), [])
    texts = [] if any(isinstance(cell, list | dict) for cell in cells) else list(map(text, cells))
    return texts if any(texts) else None


def _cut_off(table: Table) -> list[bool] | None:
    """Whether each answer was cut off, `None` if unknown; an empty cell says no."""
    texts = _texts(table, CUT_OFF)
    if texts is None:
        return None
    flags = [flag(value) if value.strip() else False for value in texts]
    if None in flags:
        table.notes.append(f"The column {find(table, CUT_OFF)[0]!r} is ignored: not every cell is true or false.")
        return None
    return [bool(value) for value in flags]


def _numbers(table: Table, names: Sequence[str]) -> list[float] | None:
    """A column's cells as numbers, or `None` if one is missing; a column of anything else is ignored with a note."""
    texts = _texts(table, names)
    if texts is None or not all(texts):
        return None
    try:
        return list(map(float, texts))
    except ValueError:
        table.notes.append(f"The column {find(table, names)[0]!r} is ignored: not every cell is a number.")
        return None
