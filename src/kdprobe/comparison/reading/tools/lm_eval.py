"""Reads `lm_eval --log_samples` files, which have a row per document and filter: each document is taken once.

With `repeats`, a document has several answers, and each becomes a row.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from kdprobe.comparison.reading.columns import PROMPT_HASH, QUESTION
from kdprobe.comparison.reading.delimited import Rows
from kdprobe.comparison.reading.replies import written_value
from kdprobe.comparison.reading.tools.samples import METRICS, SampleRows, number, texts_of
from kdprobe.evaluation.tasks.metric import OF_SUCCESS
from kdprobe.models.thinking import with_opening

_METRICS = ("exact_match", "acc", "acc_norm", "em", "math_verify", "pass@1", "mc1", "mc2", "f1")
"""Metrics to look for if a row does not list its metrics, as in old versions."""
_ASKED = (*QUESTION, "ctx", "goal", "sentence", "text")


class LmEvalRows(SampleRows):
    """Reads lm-eval's samples as one flat row per document and answer.

    Attributes:
        filters: Names of the filters, in order of appearance.
        filtered: Whether the file has only filtered answers.
    """

    tool = "lm-eval"
    of_values = ("exact_match", "math_verify")
    of_success = OF_SUCCESS
    of_document = False
    response, gold, id = "resps", "target", "doc_id"

    def reset(self) -> None:
        """Forgets what was read."""
        super().reset()
        self.filtered = False
        self.filters: list[str] = []
        self._seen: dict[str, set[Any]] = {}

    @staticmethod
    def fits(row: Mapping[str, Any]) -> bool:
        """Whether a row is one of lm-eval's samples."""
        return not {"resps", "filtered_resps"}.isdisjoint(row) and not {"doc", "doc_id"}.isdisjoint(row)

    def read(self, rows: Rows) -> Rows:
        """The flat rows."""
        for index, (line, row) in enumerate(rows):
            if not self.fits(row):
                later = f"line {line}" if line else "a later row"
                raise ValueError(f"the first row is one of lm-eval's samples, but {later} is not")
            self.metrics = self.metrics if index else _metric_names(row)
            if self._is_new(line, row):
                yield from ((line, flat) for flat in self.each_sample(self._flat(row)))

    def _is_new(self, line: int, row: dict[str, Any]) -> bool:
        """Whether a row's document has not occurred before, under any filter."""
        document = next((row[key] for key in (self.id, "doc_hash") if row.get(key) is not None), None)
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
        resps = row.get(self.response)
        self.filtered = self.filtered or resps is None
        texts = _texts(_parsed(row.get("filtered_resps") if resps is None else resps))
        self.written = self.written and texts is not None
        question = next((document[name] for name in _ASKED if isinstance(document.get(name), str)), None)
        asked = _first_arguments(_parsed(row.get("arguments")))
        if asked:
            self.ask(str(asked[0]), question, asked[1] if len(asked) > 1 else None)
        if texts and asked:
            texts = [with_opening(str(asked[0]), text) for text in texts]
        return {
            self.response: texts,
            self.gold: row.get(self.gold),
            self.id: row.get(self.id),
            "question": question,
            PROMPT_HASH: row.get(PROMPT_HASH),
            METRICS: tuple(number(row.get(name)) for name in self.metrics),
            **self.named(row, document),
        }

    def notes(self, metric: str | None) -> list[str]:
        """Notes on which rows were read, and which metric judges them."""
        notes = []
        if len(self.filters) > 1 or (self.filtered and not metric):
            taken = f"filtered by {self.filters[0]!r}" if metric or self.filtered else "unfiltered"
            count = "filter" if len(self.filters) == 1 else "filters"
            notes.append(
                f"The file has lm-eval's samples with the {count} {', '.join(self.filters)}; each document is read "
                f"once, {taken}."
            )
        return [*notes, self.judging_note(metric)] if metric else notes


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
    if (texts := texts_of(resps)) is not None:
        return None if _is_log_likelihood(resps) else texts
    return _texts(resps[0]) if len(resps) == 1 else None


def _is_log_likelihood(pair: Sequence[str | None]) -> bool:
    return len(pair) == 2 and pair[1] in {"True", "False"} and number(pair[0]) is not None  # noqa: PLR2004


def _metric_names(row: Mapping[str, Any]) -> tuple[str, ...]:
    listed = _parsed(row.get("metrics"))
    return tuple(map(str, listed)) if isinstance(listed, list) else tuple(name for name in _METRICS if name in row)


def _first_arguments(arguments: Any) -> list[Any]:
    """Prompt and settings of the first request, as written by old and new versions of lm-eval."""
    if isinstance(arguments, dict):
        first = arguments.get("gen_args_0")
        return [first[name] for name in ("arg_0", "arg_1") if name in first] if isinstance(first, dict) else []
    return list(arguments[0]) if isinstance(arguments, list) and arguments and isinstance(arguments[0], list) else []
