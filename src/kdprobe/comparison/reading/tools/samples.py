"""Samples of an evaluation tool as flat rows, one per document and answer, and what judges them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from kdprobe.comparison.reading.columns import SAMPLE, Columns
from kdprobe.comparison.reading.delimited import Rows
from kdprobe.comparison.reading.table import Table
from kdprobe.errors import KdprobeError
from kdprobe.models.conversation import prompt_form
from kdprobe.problems.gold import gold_text, gold_value

METRICS = "the tool's own metrics"
"""The column for a row's metrics, in the order of `SampleRows.metrics`."""


class SampleRows(ABC):
    """Reads the samples of one tool.

    Args:
        columns: The stated columns, which are also looked up in the tool's nested data.

    Attributes:
        tool: The tool's name.
        of_values: Prefixes of metrics that compare a final value, which an extractor could read as well.
        of_success: Prefixes of metrics that say whether an answer is correct; they take precedence over other metrics
            of 0 and 1.
        of_document: Whether a document has one value of each metric; lm-eval's have one for each filter.
        of_sample: Whether each of several answers to a document has metrics of its own.
        response, gold, id: Names of the flat rows' columns.
        written: Whether every document has text that the model wrote.
        single: Whether every document has a single gold answer.
        metrics: Names of the metrics of a row.
        left_out: Why samples were left out, as phrases, and how many.
    """

    tool: ClassVar[str]
    of_values: ClassVar[tuple[str, ...]]
    of_success: ClassVar[tuple[str, ...]]
    of_document: ClassVar[bool] = True
    of_sample: ClassVar[bool] = False
    response: str
    gold: str
    id: str

    def __init__(self, columns: Columns) -> None:
        self.columns = columns
        self.reset()

    def reset(self) -> None:
        """Forgets what was read, because rows may be read again."""
        self.written, self.single = True, True
        self.metrics: tuple[str, ...] = ()
        self.left_out: Counter[str] = Counter()
        self._forms: set[str] = set()
        self._decoding: list[Mapping[str, Any]] = []

    @staticmethod
    @abstractmethod
    def fits(row: Mapping[str, Any]) -> bool:
        """Whether a row is one of this tool's samples."""

    @abstractmethod
    def read(self, rows: Rows) -> Rows:
        """The flat rows.

        Raises:
            ValueError: A row is not one of the tool's samples, or the file has several runs or tasks.
        """

    @abstractmethod
    def notes(self, metric: str | None) -> list[str]:
        """Notes on which rows were read, and on what judges them: this metric, or an extractor if it is `None`."""

    def named(self, *sources: Mapping[str, Any]) -> dict[str, Any]:
        """The stated columns that are in one of these objects."""
        stated = {name for name in self.columns.stated.values() if name not in {self.response, self.gold, self.id}}
        found = {name: next((each[name] for each in sources if name in each), None) for name in stated}
        return {name: value for name, value in found.items() if any(name in each for each in sources)}

    def each_sample(self, flat: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """A document's row for each of the answers to it."""
        texts = flat[self.response] or ()
        if len(texts) <= 1:
            yield flat | {SAMPLE[0]: 0}
        else:
            yield from (flat | {self.response: [text], SAMPLE[0]: index} for index, text in enumerate(texts))

    def judged_rows(self, table: Table) -> Table:
        """The rows that a metric judges: one for each document, unless each sample has metrics of its own."""
        if self.of_sample or SAMPLE[0] not in table.cells:
            return table
        rows = [row for row, sample in enumerate(table.cells[SAMPLE[0]]) if not sample]
        return table if len(rows) == table.size else table.only(rows)

    def ask(self, prompt: str, question: str | None, settings: Any = None) -> None:
        """Records a document's prompt form and settings; at most two of each, enough to know that they differ."""
        if not question:
            return
        if len(self._forms) <= 1:
            self._forms.add(prompt_form(prompt, question))
        if isinstance(settings, dict) and len(self._decoding) <= 1 and settings not in self._decoding:
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

    def judging_note(self, metric: str) -> str:
        """The note that a metric judges the answers."""
        others = ", ".join(name for name in self.metrics if name != metric)
        also = f" (others: {others})" if others else ""
        why = "" if self.written else ", because the file has no text written by the model"
        return f"Judged by {self.tool}'s own metric {metric}{also}, not by an extractor{why}."

    def own_notes(self, table: Table) -> list[str]:
        """How many answers are correct by the tool's own metrics, as a note where an extractor judges."""
        if not self.of_document:
            return []
        found = ", ".join(f"{name} {sum(right)} of {table.size}" for name, right in self.binary(table))
        return [f"Correct by {self.tool}'s own metrics: {found}."] if found else []

    def binary(self, table: Table) -> Iterator[tuple[str, list[bool]]]:
        """The metrics that are 0 or 1 for every document, those of success first, and whether each is correct."""
        for name in sorted(self.metrics, key=lambda name: not name.startswith(self.of_success)):
            index = self.metrics.index(name)
            values = [row[index] for row in table.cells[METRICS]]
            if all(value in {0, 1} for value in values):
                yield name, [value == 1 for value in values]

    def metric(self, table: Table, *, extracted: bool) -> tuple[str, list[bool]] | None:
        """The metric that judges the documents, and whether each is correct; `None` if an extractor judges.

        An extractor judges if the model wrote text, most gold answers are numbers, and the task itself compares values.

        Args:
            table: The documents.
            extracted: Whether a response column is stated, so that an extractor judges whatever text there is.

        Raises:
            KdprobeError: There is no text, and no metric is 0 or 1 for every document.
        """
        of_values = self.single and (not self.metrics or any(name.startswith(self.of_values) for name in self.metrics))
        numbers = sum(gold_value(gold_text(str(gold))) is not None for gold in table.cells[self.gold])
        if self.written and (extracted or (of_values and 2 * numbers >= table.size) or not self.metrics):
            return None
        if found := next(self.binary(table), None):
            return found
        raise KdprobeError(
            f"{table.file} has no answers to extract values from, and no metric that is 0 or 1 for every document "
            f"(metrics: {', '.join(self.metrics) or 'none'}).",
            "kdprobe scores samples with an extractor, or by a metric such as acc or exact_match.",
        )


def number(value: Any) -> float | None:
    """A metric's value as a number, however it is written, or `None`."""
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return {"True": 1.0, "False": 0.0}.get(value) if isinstance(value, str) else None


def texts_of(values: Sequence[Any]) -> list[str] | None:
    """The texts, or `None` if one of the values is not a text or missing."""
    return (
        [value or "" for value in values] if all(value is None or isinstance(value, str) for value in values) else None
    )
