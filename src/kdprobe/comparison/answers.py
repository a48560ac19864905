"""Existing answers: files of model outputs, read as records.

Text is kept as it is written: an empty cell is an empty answer, and `nan` is three letters.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from kdprobe.comparison.reading.cells import gold_texts, id_texts, question_texts, response_texts, text
from kdprobe.comparison.reading.columns import (
    CUT_OFF,
    PROMPT_HASH,
    QUESTION,
    TOKENS,
    Columns,
    choose,
    find,
    refuse_unknown,
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
        file: Where they come from.
        responses: What the model wrote, its thinking between marks as `kdprobe.models.thinking` knows them; an empty
            string where there is nothing.
        gold: The gold values, as the data have them written.
        ids: What identifies a problem, or `None`.
        questions: What was asked, or `None`.
        groups: The template or family of each problem, or `None`.
        cut_off: Whether an answer reached the token budget, or `None` where that is not known.
        tokens: Tokens of each answer, or `None`.
        thinking_tokens: Tokens of thinking of each answer, 0 where there is none, or `None`.
        log_p_gold_value: log p(gold value) of each problem, in nats, or `None`.
        log_p_gold_solution: Log-probability of a token of each gold solution on average, in nats, or `None`.
        conditions: What decided the answers besides the model, as far as it is known: `budget`, `prompt`, `decoding`,
            `task` and `versions`, each aspect to value.
        columns: The columns that hold `response`, `gold` and `id`; `None` where there is none.
        notes: What a reader should know of how the file was read.
        metric: lm-eval's metric that judged the answers, or `None` where an extractor does.
        right: What that metric says of each, or `None`.
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
        """How many gold values are not one number, so that no answer equals them as one."""
        return sum(gold_value(gold) is None for gold in self.gold)

    @property
    def keys(self) -> list[str]:
        """What a problem goes by: its id, else its question, else its index in the file."""
        return self.ids or self.questions or [str(index) for index in range(len(self.responses))]


def read_outputs(
    file: Path, columns: Columns = ANY_COLUMNS, *, source: str | None = None, encoding: str | None = None
) -> Outputs:
    """Reads a file of answers: anybody's, lm-eval's samples, or the records of an evaluation.

    Args:
        file: The file.
        columns: Which columns hold what.
        source: What the answers are called in messages; by default the file.
        encoding: Of a text file, as Python names it; by default it is found out.

    Raises:
        KdprobeError: It cannot be read, is empty, a gold value is missing, or a cell holds no text.
        UsageError: A column is missing, or which one is meant is not certain.
    """
    rows = LmEvalRows(columns)
    return _read(read_table(file, rows.known, rows.read, encoding), source or str(file), rows, columns)


def outputs_of(records: Iterable[Mapping[str, Any]], source: str, columns: Columns = ANY_COLUMNS) -> Outputs:
    """Reads answers that are in memory, a mapping each, as those of a file are read.

    Args:
        records: The answers.
        source: What they are called in messages.
        columns: Which columns hold what.

    Raises:
        KdprobeError: As `read_outputs`.
        UsageError: As `read_outputs`.
    """
    rows = LmEvalRows(columns)
    return _read(table_of(records, source, rows.known, rows.read), source, rows, columns)


def _read(table: Table, source: str, rows: LmEvalRows, columns: Columns) -> Outputs:
    if not table.size:
        raise KdprobeError(f"{table.file} holds no answers.", "It needs one row per answer.")
    refuse_unknown(table, columns)
    judged = rows.metric(table) if rows.found else None
    chosen = Columns(None, columns.gold or GOLD, columns.id or ID) if judged else choose(table, columns)
    return _outputs(table, source, rows, chosen, judged)


def _outputs(
    table: Table, source: str, rows: LmEvalRows, columns: Columns, judged: tuple[str, list[bool]] | None
) -> Outputs:
    metric, right = judged or (None, None)
    responses = [""] * table.size
    if columns.response:
        responses = with_thinking(table, response_texts(table, columns.response), columns.response)
    cut_off, tokens = _texts(table, CUT_OFF), _numbers(table, TOKENS)
    log_p, solution, size = (_numbers(table, (name,)) for name in ("log_p_gold_value", *GOLD_SOLUTION))
    named = {"response": columns.response, "gold": columns.gold, "id": columns.id}
    return Outputs(
        file=source,
        responses=responses,
        gold=_gold(table, columns.gold, needed=not metric),
        ids=_ids(table, columns.id),
        questions=_questions(table),
        groups=_texts(table, ("group",)),
        cut_off=[value.strip().lower() in {"true", "1", "1.0"} for value in cut_off] if cut_off else None,
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
    """Log-probabilities of whole solutions as what a token of them has on average."""
    if solutions is None or tokens is None or not all(tokens):
        return None
    return [log_p / size for log_p, size in zip(solutions, tokens, strict=True)]


def _gold(table: Table, name: str | None, *, needed: bool) -> list[str]:
    """The gold values, each kept once."""
    if name is None or name not in table.cells:
        return [""] * table.size
    kept: dict[str, str] = {}
    values = [kept.setdefault(value, value) for value in map(gold_text, gold_texts(table, name))]
    if needed and "" in values:
        raise KdprobeError(
            f"{table.place(values.index(''))}: there is no gold value in the column {name!r}.",
            "Name the right one with --gold-column.",
        )
    return values


def _ids(table: Table, name: str | None) -> list[str] | None:
    """The ids as text; 3.0 is 3, for pandas writes whole numbers beside gaps like that."""
    if name is None or name not in table.cells:
        return None
    ids = id_texts(table, name)
    return [id_[:-2] for id_ in ids] if all(map(_WHOLE_FLOAT.fullmatch, ids)) else ids


def _conditions(table: Table) -> dict[str, dict[str, str]]:
    """How answers were asked for, as far as the file says and all rows agree."""
    cells = table.cells.get(CONDITIONS, [])
    first = cells[0] if cells else None
    if not isinstance(first, dict) or any(row is not first and row != first for row in cells):
        return {}
    return {kind: _aspects(aspects) for kind, aspects in first.items() if aspects}


def _aspects(aspects: Mapping[str, Any]) -> dict[str, str]:
    return {str(name): str(value) for name, value in aspects.items() if value is not None}


def _questions(table: Table) -> list[str] | None:
    found = find(table, QUESTION)
    questions = question_texts(table, found[0]) if found else []
    return questions if any(questions) else None


def _texts(table: Table, names: Sequence[str]) -> list[str] | None:
    """A column's cells as text, or `None` where there is no such column, nothing in it, or something else."""
    cells = next((table.cells[name] for name in find(table, names)), [])
    texts = [] if any(isinstance(cell, list | dict) for cell in cells) else list(map(text, cells))
    return texts if any(texts) else None


def _numbers(table: Table, names: Sequence[str]) -> list[float] | None:
    """A column's cells as numbers, or `None` where one is missing; other things are left out with a note."""
    texts = _texts(table, names)
    if texts is None or not all(texts):
        return None
    try:
        return list(map(float, texts))
    except ValueError:
        table.notes.append(f"{find(table, names)[0]!r} holds something else than numbers and is left out.")
        return None
