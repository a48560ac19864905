"""Reads `lm_eval --log_samples` files: they have a row per document and filter, and each document is taken once."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from kdprobe.comparison.reading.columns import PROMPT_HASH, QUESTION, Columns
from kdprobe.comparison.reading.delimited import Rows
from kdprobe.comparison.reading.replies import written_value
from kdprobe.comparison.reading.table import Table
from kdprobe.errors import KdprobeError
from kdprobe.models.conversation import prompt_form
from kdprobe.models.thinking import with_opening
from kdprobe.problems.gold import gold_text, gold_value

RESPONSE, GOLD, ID = "resps", "target", "doc_id"
METRICS = "lm-eval's metrics"
"""The column for a row's metrics, in the order of `LmEvalRows.metrics`."""
_METRICS = ("exact_match", "acc", "acc_norm", "em", "math_verify", "pass@1", "mc1", "mc2", "f1")
"""Metrics to look for if a row does not list its metrics, as in old versions."""
_OF_VALUES = ("exact_match", "math_verify")
"""Prefixes of metrics that compare a final value, which an extractor could read as well."""
_OF_SUCCESS = ("acc", "exact_match", "em", "math_verify", "pass@", "mc1")
"""Prefixes of metrics that say whether an answer is correct; they take precedence over other metrics of 0 and 1."""
_ASKED = (*QUESTION, "ctx", "goal", "sentence", "text")


class LmEvalRows:
    """Reads rows: lm-eval's samples as one flat row per document, all others unchanged.

    Attributes:
        found: Whether they are lm-eval's samples.
        filters: Names of the filters, in order of appearance.
        filtered: Whether the file has only filtered answers.
        written: Whether every document has text that the model wrote.
        metrics: Names of the metrics of a row.
        conditions: How the answers were generated, where all rows agree.
    """

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._reset()

    def _reset(self) -> None:
        self.found, self.filtered, self.written = False, False, True
        self.filters: list[str] = []
        self.metrics: tuple[str, ...] = ()
        self._seen: dict[str, set[Any]] = {}
        self._forms: set[str] = set()
        self._decoding: list[Mapping[str, Any]] = []

    def known(self, name: str) -> bool:
        """Whether a column of this name is kept."""
        return name == METRICS or self._columns.known(name)

    def read(self, rows: Rows) -> Rows:
        """The flat rows; calling it again starts over."""
        self._reset()
        first = next(rows, None)
        if first is None:
            return
        self.found = _is_sample(first[1])
        if not self.found:
            yield from chain([first], rows)
            return
        self.metrics = _metric_names(first[1])
        for line, row in chain([first], rows):
            if not _is_sample(row):
                raise ValueError(f"{_line(line)} is not a row of lm-eval's samples, but the first is")
            if self._is_new(line, row):
                yield line, self._flat(row)

    def _is_new(self, line: int, row: dict[str, Any]) -> bool:
        """Whether a row's document has not occurred before, under any filter."""
        document = next((row[key] for key in (ID, "doc_hash") if row.get(key) is not None), None)
        if not isinstance(document, str | int):
            document = json.dumps(row.get("doc") if document is None else document, sort_keys=True, default=str)
        name = str(row.get("filter") or "none")
        if name not in self._seen:
            self.filters.append(name)
        mine = self._seen.setdefault(name, set())
        if document in mine:
            raise ValueError(
                f"{_line(line)} repeats document {document!s:.60} under the filter {name!r}, so the file has several "
                "runs or tasks; split it"
            )
        mine.add(document)
        return not any(document in others for other, others in self._seen.items() if other != name)

    def _flat(self, row: dict[str, Any]) -> dict[str, Any]:
        document = _parsed(row.get("doc"))
        document = document if isinstance(document, dict) else {}
        resps = row.get(RESPONSE)
        self.filtered = self.filtered or resps is None
        texts = _texts(_parsed(row.get("filtered_resps") if resps is None else resps))
        self.written = self.written and texts is not None
        question = next((document[name] for name in _ASKED if isinstance(document.get(name), str)), None)
        asked = _first_arguments(_parsed(row.get("arguments")))
        self._ask(asked, question)
        if texts and asked:
            texts = [with_opening(str(asked[0]), text) for text in texts]
        named = {name: row.get(name, document.get(name)) for name in self._named() if name in row or name in document}
        return {
            RESPONSE: texts,
            GOLD: row.get(GOLD),
            ID: row.get(ID),
            "question": question,
            PROMPT_HASH: row.get(PROMPT_HASH),
            METRICS: tuple(_number(row.get(name)) for name in self.metrics),
            **{name: value for name, value in named.items() if name not in {RESPONSE, ID}},
        }

    def _named(self) -> Iterator[str]:
        yield from filter(None, (self._columns.response, self._columns.gold, self._columns.id))

    def _ask(self, first: Sequence[Any], question: str | None) -> None:
        """Records a document's prompt form and settings; at most two of each, enough to know that they differ."""
        if not question or not first:
            return
        if len(self._forms) <= 1:
            self._forms.add(prompt_form(str(first[0]), question))
        settings = first[1] if len(first) > 1 and isinstance(first[1], dict) else None
        if settings is not None and len(self._decoding) <= 1 and settings not in self._decoding:
            self._decoding.append(settings)

    @property
    def conditions(self) -> dict[str, dict[str, str]]:
        """How the answers were generated, if all rows agree."""
        conditions = {"prompt": {"form": next(iter(self._forms))}} if len(self._forms) == 1 else {}
        if len(self._decoding) == 1:
            decoding = {str(name): str(value) for name, value in self._decoding[0].items()}
            if budget := decoding.pop("max_gen_toks", None):
                conditions["budget"] = {"tokens": budget}
            conditions["decoding"] = decoding
        return conditions

    def notes(self, metric: str | None) -> list[str]:
        """Notes on which rows were read, and which metric judges them."""
        notes = []
        if len(self.filters) > 1 or (self.filtered and not metric):
            taken = f"filtered by {self.filters[0]!r}" if metric or self.filtered else "unfiltered"
            count = "filter" if len(self.filters) == 1 else "filters"
            notes.append(
                f"lm-eval's samples with the {count} {', '.join(self.filters)}: each document is read once, {taken}."
            )
        if metric:
            others = ", ".join(name for name in self.metrics if name != metric)
            also = f" (others: {others})" if others else ""
            why = "" if self.written else ", because the file has no text written by the model"
            notes.append(f"Judged by lm-eval's own metric {metric}{also}, not by an extractor{why}.")
        return notes

    def metric(self, table: Table, *, extracted: bool) -> tuple[str, list[bool]] | None:
        """The metric that judges the documents, and whether each is correct; `None` if an extractor judges.

        An extractor judges if the model wrote text, most gold answers are numbers, and the task itself compares values.

        Args:
            table: The documents.
            extracted: Whether a response column is stated, so that an extractor judges whatever text there is.

        Raises:
            KdprobeError: There is no text, and no metric is 0 or 1 for every document.
        """
        of_values = not self.metrics or any(name.startswith(_OF_VALUES) for name in self.metrics)
        numbers = sum(gold_value(gold_text(str(gold))) is not None for gold in table.cells[GOLD])
        if self.written and (extracted or (of_values and 2 * numbers >= table.size) or not self.metrics):
            return None
        for name in sorted(self.metrics, key=lambda name: not name.startswith(_OF_SUCCESS)):
            index = self.metrics.index(name)
            values = [row[index] for row in table.cells[METRICS]]
            if all(value in {0, 1} for value in values):
                return name, [value == 1 for value in values]
        raise KdprobeError(
            f"{table.file} has no answers to extract values from, and no metric that is 0 or 1 for every document "
            f"(metrics: {', '.join(self.metrics) or 'none'}).",
            "kdprobe scores samples with an extractor, or by a metric such as acc or exact_match.",
        )


def _is_sample(row: Mapping[str, Any]) -> bool:
    return not {RESPONSE, "filtered_resps"}.isdisjoint(row) and not {"doc", ID}.isdisjoint(row)


def _line(line: int) -> str:
    return f"line {line}" if line else "a row"


def _parsed(value: Any) -> Any:
    """A nested cell, which CSV stores as text."""
    parsed = written_value(value) if isinstance(value, str) else None
    return value if parsed is None else parsed


def _texts(resps: Any) -> list[str] | None:
    """The texts written for one request; `None` for log-likelihoods or several requests."""
    if isinstance(resps, str):
        return [resps]
    if resps == [[]]:
        return [""]  # A request without any response.
    if not isinstance(resps, Sequence) or not resps:
        return None
    if all(text is None or isinstance(text, str) for text in resps):
        return None if _is_log_likelihood(resps) else [text or "" for text in resps]
    return _texts(resps[0]) if len(resps) == 1 else None


def _is_log_likelihood(pair: Sequence[str | None]) -> bool:
    return len(pair) == 2 and pair[1] in {"True", "False"} and _number(pair[0]) is not None  # noqa: PLR2004


def _metric_names(row: Mapping[str, Any]) -> tuple[str, ...]:
    listed = _parsed(row.get("metrics"))
    return tuple(map(str, listed)) if isinstance(listed, list) else tuple(name for name in _METRICS if name in row)


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return {"True": 1.0, "False": 0.0}.get(value) if isinstance(value, str) else None


def _first_arguments(arguments: Any) -> list[Any]:
    """Prompt and settings of the first request, as written by old and new versions of lm-eval."""
    if isinstance(arguments, dict):
        first = arguments.get("gen_args_0")
        return [first[name] for name in ("arg_0", "arg_1") if name in first] if isinstance(first, dict) else []
    return list(arguments[0]) if isinstance(arguments, list) and arguments and isinstance(arguments[0], list) else []
