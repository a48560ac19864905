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

from kdprobe.comparison.reading.cells import gold_texts, id_texts, question_texts, response_texts, text
from kdprobe.comparison.reading.columns import (
    PROMPT_HASH,
    QUESTION,
    TOKENS,
    Columns,
    choose,
    find,
    stated_columns,
)
from kdprobe.comparison.reading.endings import cut_off
from kdprobe.comparison.reading.measures import counts, numbers, sample_numbers, texts
from kdprobe.comparison.reading.table import Table, read_table, table_of
from kdprobe.comparison.reading.thoughts import thinking_tokens, with_thinking
from kdprobe.comparison.reading.tools.rows import ToolRows
from kdprobe.comparison.reading.tools.samples import SampleRows
from kdprobe.errors import KdprobeError
from kdprobe.evaluation.engines.engine import BUILT_IN
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
        tool: The evaluation tool whose samples these are, or `None`.
        metric: The tool's metric that judged the answers, or `None` if an extractor judges them.
        right: Whether that metric judged each answer correct, or `None`.
        samples: The number of each answer among those to its problem, if problems have several and the file numbers
            them; otherwise `None`.
        prompts: lm-eval's hash of each prompt, or `None`.
        left_out: Number of samples of an evaluation that have no result, such as those that ended in an error.
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
    tool: str | None = None
    metric: str | None = None
    right: list[bool] | None = None
    samples: list[int] | None = None
    prompts: list[str] | None = None
    left_out: int = 0

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
    """Reads a file of answers: any table, the output of an evaluation tool, or the records of an evaluation.

    Args:
        file: The file.
        columns: The columns to read.
        source: A name for the answers in messages; by default the file.
        encoding: The encoding of a text file, as Python names it; detected by default.

    Raises:
        KdprobeError: It cannot be read, is empty, lacks a gold value, or has a cell without text.
        UsageError: A column is missing or ambiguous.
    """
    rows = ToolRows(columns)
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
    rows = ToolRows(columns)
    return _read(table_of(records, source, rows.known, rows.read), source, rows, columns)


def _read(table: Table, source: str, rows: ToolRows, columns: Columns) -> Outputs:
    if not table.size:
        raise KdprobeError(f"{table.file} has no answers.", "Provide one row per answer.")
    columns = stated_columns(table, columns)
    tool, judged = rows.found, None
    if tool:
        documents = tool.judged_rows(table)
        if judged := tool.metric(documents, extracted=columns.response is not None):
            table = documents
        response = columns.response or (tool.response if tool.written else None)
        identified = any(map(text, table.cells.get(tool.id, ())))
        columns = Columns(response, columns.gold or tool.gold, columns.id or (tool.id if identified else None))
    return _outputs(table, source, tool, columns if judged else choose(table, columns), judged)


def _outputs(
    table: Table, source: str, tool: SampleRows | None, columns: Columns, judged: tuple[str, list[bool]] | None
) -> Outputs:
    metric, right = judged or (None, None)
    notes = [*tool.notes(metric), *([] if metric else tool.own_notes(table))] if tool else []
    responses = [""] * table.size
    if columns.response:
        responses = with_thinking(table, response_texts(table, columns.response), columns.response)
    log_p, solution, size = (numbers(table, (name,)) for name in ("log_p_gold_value", *GOLD_SOLUTION))
    ids, questions = _ids(table, columns.id), _questions(table)
    named = {"response": columns.response, "gold": columns.gold, "id": columns.id}
    return Outputs(
        file=source,
        responses=responses,
        gold=_gold(table, columns.gold, needed=not metric),
        ids=ids,
        questions=questions,
        groups=texts(table, ("group",)),
        cut_off=cut_off(table, columns.response),
        tokens=counts(table, TOKENS),
        thinking_tokens=thinking_tokens(table),
        log_p_gold_value=log_p,
        log_p_gold_solution=per_token(solution, size),
        conditions=tool.conditions if tool else _conditions(table),
        columns=named | ({"metric": metric} if metric else {}),
        notes=(*notes, *table.notes),
        metric=metric,
        tool=tool.tool if tool else None,
        samples=sample_numbers(table, ids or questions),
        right=right,
        prompts=texts(table, (PROMPT_HASH,)),
        left_out=tool.left_out.total() if tool else 0,
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
    conditions = {kind: _aspects(aspects) for kind, aspects in first.items() if aspects}
    if "dtype" in conditions.get("decoding", {}):
        # Models that kdprobe itself ran, before there were other engines.
        conditions["decoding"].setdefault("engine", BUILT_IN)
    return conditions


def _aspects(aspects: Mapping[str, Any]) -> dict[str, str]:
    return {str(name): str(value) for name, value in aspects.items() if value is not None}


def _questions(table: Table) -> list[str] | None:
    asked = (question_texts(table, name) for name in find(table, QUESTION))
    return next((questions for questions in asked if any(questions)), None)
