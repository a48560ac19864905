"""Existing answers: files of model outputs, read as records.

CSV (plain or gzip), JSON lines (plain or gzip), Parquet, and the `samples_*.jsonl` of lm-eval. Text is kept as it is
written: an empty cell is an empty answer, and `nan` is three letters.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from kdprobe.errors import KdprobeError, UsageError

RESPONSE = ("response", "model_answer", "model_output", "output", "prediction", "completion", "generation", "solution")
GOLD = ("gold", "target", "ground_truth", "answer", "reference", "label", "expected")
ID = ("id", "problem_id", "question_id", "doc_id")
QUESTION = ("question", "problem", "prompt", "input")
CUT_OFF = ("cut_off", "model_max_tokens", "truncated")
CONDITIONS = "conditions"
_PROMPT, _DECODING = "lm-eval's prompt", "lm-eval's decoding"
"""Columns for what lm-eval's samples hold separately."""
GOLD_SOLUTION = ("log_p_gold_solution", "gold_tokens")
TOKENS = ("tokens", "model_output_tokens", "output_tokens", "completion_tokens")


@dataclass(frozen=True)
class Columns:
    """Which columns of a file hold what; `None` looks for usual names.

    Attributes:
        response: What the model wrote.
        gold: The gold value, or an answer that ends in it.
        id: What identifies a problem.
    """

    response: str | None = None
    gold: str | None = None
    id: str | None = None


ANY_COLUMNS = Columns()


@dataclass(frozen=True)
class Outputs:
    """Answers of one model to problems.

    Attributes:
        file: Where they come from.
        responses: What the model wrote; an empty string where there is nothing.
        gold: The gold values, as the data have them written.
        ids: What identifies a problem, or `None`.
        questions: What was asked, or `None`.
        groups: The template or family of each problem, or `None`.
        cut_off: Whether an answer reached the token budget, or `None` where that is not known.
        tokens: Tokens of each answer, or `None`.
        log_p_gold_value: log p(gold value) of each problem, in nats, or `None`.
        log_p_gold_solution: Log-probability of a token of each gold solution on average, in nats, or `None`.
        conditions: What decided the answers besides the model, as far as it is known: `budget`, `prompt`, `decoding`,
            `task` and `versions`, each aspect to value.
    """

    file: str
    responses: list[str]
    gold: list[str]
    ids: list[str] | None = None
    questions: list[str] | None = None
    groups: list[str] | None = None
    cut_off: list[bool] | None = None
    tokens: list[int] | None = None
    log_p_gold_value: list[float] | None = None
    log_p_gold_solution: list[float] | None = None
    conditions: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def keys(self) -> list[str]:
        """What a problem goes by: its id, else its question, else its index in the file."""
        return self.ids or self.questions or [str(index) for index in range(len(self.responses))]


def read_outputs(file: Path, columns: Columns = ANY_COLUMNS, *, source: str | None = None) -> Outputs:
    """Reads a file of answers: anybody's, or the records of an evaluation.

    Args:
        file: The file.
        columns: Which columns hold what.
        source: What the answers are called in messages; by default the file.

    Raises:
        KdprobeError: It cannot be read, is empty, or a gold value is missing.
        UsageError: A column is missing, or none of the usual names is a column.
    """
    table = _table(file)
    if table.empty:
        raise KdprobeError(f"{file} holds no answers.", "It needs one row per answer.")
    response = _column(table, file, "response", columns.response, RESPONSE)
    gold = _column(table, file, "gold", columns.gold, [name for name in GOLD if name != response])
    id_ = _named(table, file, "id", columns.id) or _first(table, ID)
    values = [gold_text(_text(value)) for value in table[gold]]
    if "" in values:
        raise KdprobeError(
            f"{file}, row {values.index('') + 1}: there is no gold value in the column {gold!r}.",
            "Name the right one with --gold-column.",
        )
    cut_off, tokens = _cells(table, CUT_OFF), _numbers(table, *TOKENS)
    log_p, solution, size = (_numbers(table, name) for name in ("log_p_gold_value", *GOLD_SOLUTION))
    return Outputs(
        file=source or str(file),
        responses=[_text(value) for value in table[response]],
        gold=values,
        ids=[_text(value) for value in table[id_]] if id_ else None,
        questions=_cells(table, QUESTION),
        groups=_cells(table, ("group",)),
        cut_off=[value.strip().lower() in {"true", "1", "1.0"} for value in cut_off] if cut_off else None,
        tokens=[round(value) for value in tokens] if tokens else None,
        log_p_gold_value=log_p,
        log_p_gold_solution=per_token(solution, size),
        conditions=_conditions(table),
    )


def per_token(solutions: Sequence[float] | None, tokens: Sequence[float] | None) -> list[float] | None:
    """Log-probabilities of whole solutions as what a token of them has on average."""
    if solutions is None or tokens is None:
        return None
    return [log_p / size for log_p, size in zip(solutions, tokens, strict=True)]


def gold_text(gold: str) -> str:
    """The value of a gold answer: after `####`, after a last line's `A:`, else all of it."""
    if "####" in gold:
        return gold.rpartition("####")[2].strip()
    last = gold.rstrip().rpartition("\n")[2].strip()
    return (last.removeprefix("A:") if last.startswith("A:") else gold).strip()


def _table(file: Path) -> pd.DataFrame:
    name = file.name.removesuffix(".gz")
    try:
        if name.endswith((".csv", ".tsv")):
            return pd.read_csv(file, dtype=str, keep_default_na=False, sep="\t" if name.endswith(".tsv") else ",")
        if name.endswith((".jsonl", ".json")):
            return pd.DataFrame(_json_rows(file))
        if name.endswith(".parquet"):
            return pd.read_parquet(file)
    except (OSError, ValueError, EOFError, pd.errors.ParserError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error).partition("\n")[0]
        raise KdprobeError(f"{file} cannot be read: {reason}.", "Check the path and the file.") from error
    raise UsageError(f"{file} is of no known kind.", "Known are .csv, .tsv, .jsonl (each also .gz) and .parquet.")


def _json_rows(file: Path) -> list[dict[str, Any]]:
    with (gzip.open if file.suffix == ".gz" else open)(file, "rt", encoding="utf-8-sig") as stream:
        rows = [json.loads(line) for line in stream if line.strip()]
    if not all(isinstance(row, dict) for row in rows):
        raise ValueError("a line is no JSON object")
    return [_sample(row) if {"resps", "doc", "target"} <= row.keys() else row for row in rows]


def _sample(row: dict[str, Any]) -> dict[str, Any]:
    """A row of lm-eval's samples: the first answer to a document, unfiltered, and how it was asked for."""
    question = row["doc"].get("question") if isinstance(row["doc"], dict) else None
    sample = {"response": row["resps"][0][0], "target": row["target"], "doc_id": row.get("doc_id")}
    arguments = row.get("arguments", {})
    arguments = arguments.get("gen_args_0", {}) if isinstance(arguments, dict) else {}
    return sample | (
        {"question": question, _PROMPT: arguments.get("arg_0"), _DECODING: arguments.get("arg_1")} if question else {}
    )


def _conditions(table: pd.DataFrame) -> dict[str, dict[str, str]]:
    """How answers were asked for, as far as the file says and all rows agree."""
    if CONDITIONS in table:
        first = table[CONDITIONS][0]
        agreed = isinstance(first, dict) and all(row == first for row in table[CONDITIONS])
        return {kind: _aspects(aspects) for kind, aspects in first.items() if aspects} if agreed else {}
    if _PROMPT not in table:
        return {}
    forms = {
        _text(prompt).replace(json.dumps(question)[1:-1], "{question}").replace(question, "{question}")
        for prompt, question in zip(table[_PROMPT], map(_text, table["question"]), strict=True)
        if question
    }
    conditions = {"prompt": {"form": forms.pop()}} if len(forms) == 1 else {}
    settings = [row for row in table[_DECODING] if isinstance(row, dict)]
    if settings and all(row == settings[0] for row in settings):
        decoding = {str(name): str(value) for name, value in settings[0].items()}
        if budget := decoding.pop("max_gen_toks", None):
            conditions["budget"] = {"tokens": budget}
        conditions["decoding"] = decoding
    return conditions


def _aspects(aspects: Mapping[str, Any]) -> dict[str, str]:
    return {str(name): str(value) for name, value in aspects.items() if value is not None}


def _column(table: pd.DataFrame, file: Path, role: str, requested: str | None, usual_names: Sequence[str]) -> str:
    if name := _named(table, file, role, requested) or _first(table, usual_names):
        return name
    raise UsageError(
        f"{file} has no column that looks like the {role}; it has {', '.join(map(str, table.columns))}.",
        f"Name it with --{role}-column.",
    )


def _named(table: pd.DataFrame, file: Path, role: str, requested: str | None) -> str | None:
    if requested is not None and requested not in table.columns:
        raise UsageError(
            f"{file} has no column {requested!r}; it has {', '.join(map(str, table.columns))}.",
            f"Check --{role}-column.",
        )
    return requested


def _first(table: pd.DataFrame, names: Sequence[str]) -> str | None:
    return next((name for name in names if name in table.columns), None)


def _cells(table: pd.DataFrame, names: Sequence[str]) -> list[str] | None:
    """A column's cells as text, or `None` where there is no such column or nothing in it."""
    name = _first(table, names)
    cells = [_text(value) for value in table[name]] if name else []
    return cells if any(cells) else None


def _numbers(table: pd.DataFrame, *names: str) -> list[float] | None:
    """A column's cells as numbers, or `None` where one is missing."""
    cells = _cells(table, names)
    return [float(value) for value in cells] if cells and all(cells) else None


def _text(value: Any) -> str:
    """A cell as text; nothing, NaN and null are empty."""
    if isinstance(value, str):
        return value
    return "" if value is None or value != value else str(value)  # noqa: PLR0124 - only NaN differs from itself
