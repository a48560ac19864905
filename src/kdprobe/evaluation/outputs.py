"""Answers that somebody has already: files of model outputs, read as records.

CSV (plain or gzip), JSON lines (plain or gzip), Parquet, and the `samples_*.jsonl` of lm-eval. Text is kept as it is
written: an empty cell is an empty answer, and `nan` is three letters.
"""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from kdprobe.errors import KdprobeError, UsageError

RESPONSE = ("response", "model_answer", "model_output", "output", "prediction", "completion", "generation", "solution")
GOLD = ("gold", "target", "ground_truth", "answer", "reference", "label", "expected")
ID = ("id", "problem_id", "question_id", "doc_id")
QUESTION = ("question", "problem", "prompt", "input")
CUT_OFF = ("cut_off", "model_max_tokens", "truncated")
TOKENS = ("tokens", "model_output_tokens", "output_tokens", "completion_tokens")


@dataclass(frozen=True)
class Columns:
    """Which columns hold what, where that was told; `None` looks for usual names."""

    response: str | None = None
    gold: str | None = None
    id: str | None = None


@dataclass(frozen=True)
class Outputs:
    """Answers of one model to problems.

    Attributes:
        file: Where they come from.
        responses: What the model wrote; an empty string where there is nothing.
        gold: The gold values, as the data have them written.
        keys: What identifies a problem: its id, else its question, else its place in the file.
        cut_off: Whether an answer reached the token budget, or `None` where the file does not say.
        tokens: Tokens of each answer, or `None`.
    """

    file: str
    responses: list[str]
    gold: list[str]
    keys: list[str]
    cut_off: list[bool] | None
    tokens: list[int] | None


def read_outputs(file: Path, columns: Columns) -> Outputs:
    """Reads a file of answers.

    Raises:
        KdprobeError: It cannot be read, is empty, or a gold value is missing.
        UsageError: A column is not there, or none of the usual names is.
    """
    table = _table(file)
    if table.empty:
        raise KdprobeError(f"{file} holds no answers.", "It needs one row per answer.")
    response = _column(table, file, "response", columns.response, RESPONSE)
    gold = _column(table, file, "gold", columns.gold, [name for name in GOLD if name != response])
    key = _named(table, file, "id", columns.id) or _first(table, ID) or _first(table, QUESTION)
    values = [gold_text(_text(value)) for value in table[gold]]
    if "" in values:
        raise KdprobeError(
            f"{file}, row {values.index('') + 1}: there is no gold value in the column {gold!r}.",
            "Name the right one with --gold-column.",
        )
    cut_off, tokens = _first(table, CUT_OFF), _first(table, TOKENS)
    return Outputs(
        file=str(file),
        responses=[_text(value) for value in table[response]],
        gold=values,
        keys=[_text(value) for value in table[key]] if key else [str(place) for place in range(len(table))],
        cut_off=[_text(value).strip().lower() in {"true", "1", "1.0"} for value in table[cut_off]] if cut_off else None,
        tokens=[round(float(value)) for value in table[tokens]] if tokens else None,
    )


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
        what = error.strerror if isinstance(error, OSError) and error.strerror else str(error).partition("\n")[0]
        raise KdprobeError(f"{file} cannot be read: {what}.", "Check the path and the file.") from error
    raise UsageError(f"{file} is of no known kind.", "Known are .csv, .tsv, .jsonl (each also .gz) and .parquet.")


def _json_rows(file: Path) -> list[dict[str, Any]]:
    with (gzip.open if file.suffix == ".gz" else open)(file, "rt", encoding="utf-8-sig") as stream:
        rows = [json.loads(line) for line in stream if line.strip()]
    if not all(isinstance(row, dict) for row in rows):
        raise ValueError("a line is no JSON object")
    return [_sample(row) if {"resps", "doc", "target"} <= row.keys() else row for row in rows]


def _sample(row: dict[str, Any]) -> dict[str, Any]:
    """A row of lm-eval's samples: the first answer to a document, unfiltered."""
    question = row["doc"].get("question") if isinstance(row["doc"], dict) else None
    found = {"response": row["resps"][0][0], "target": row["target"], "doc_id": row.get("doc_id")}
    return found | ({"question": question} if question else {})


def _column(table: pd.DataFrame, file: Path, what: str, told: str | None, usual: Any) -> str:
    if found := _named(table, file, what, told) or _first(table, usual):
        return found
    raise UsageError(
        f"{file} has no column that looks like the {what}; it has {', '.join(map(str, table.columns))}.",
        f"Name it with --{what}-column.",
    )


def _named(table: pd.DataFrame, file: Path, what: str, told: str | None) -> str | None:
    if told is not None and told not in table.columns:
        raise UsageError(
            f"{file} has no column {told!r}; it has {', '.join(map(str, table.columns))}.",
            f"Check --{what}-column.",
        )
    return told


def _first(table: pd.DataFrame, names: Any) -> str | None:
    return next((name for name in names if name in table.columns), None)


def _text(value: Any) -> str:
    """A cell as text; nothing, NaN and null are empty."""
    if isinstance(value, str):
        return value
    return "" if value is None or value != value else str(value)  # noqa: PLR0124 - only NaN differs from itself
