"""Reads lighteval's details: since 0.11 with a document, a response and metrics in each row, before that flat."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

from kdprobe.comparison.reading.delimited import Rows
from kdprobe.comparison.reading.tools.samples import METRICS, SampleRows, number, texts_of
from kdprobe.models.thinking import marked
from kdprobe.words import counted

_NESTED = frozenset({"doc", "metric", "model_response"})
_FLAT = frozenset({"example", "full_prompt", "predictions", "metrics", "gold_index"})


class LightevalRows(SampleRows):
    """Reads details as one flat row per document and answer.

    A task that generates text and also compares log-probabilities has a row for each; they are joined.
    """

    tool = "lighteval"
    of_values = (
        "em", "qem", "pem", "pqem", "exact_match", "quasi_exact_match", "extractive_match", "pass@k", "maj@", "avg@",
    )  # fmt: skip
    of_success = ("acc", *of_values, "loglikelihood_acc", "truthfulqa_mc1")
    response, gold, id = "model_response.text", "doc.choices", "doc.id"

    def reset(self) -> None:
        """Forgets what was read."""
        super().reset()
        self._tasks: dict[str, None] = {}
        self._sizes: set[int | None] = set()
        self._shortened = 0

    @staticmethod
    def fits(row: Mapping[str, Any]) -> bool:
        """Whether a row is one of lighteval's details."""
        return set(row) >= _NESTED or set(row) >= _FLAT

    def read(self, rows: Rows) -> Rows:
        """The flat rows."""
        documents: dict[str, tuple[dict[str, Any], dict[str, float]]] = {}
        for _, row in rows:
            if not self.fits(row):
                raise ValueError("it begins like lighteval's details, but a later row has a different format")
            nested = row if set(row) >= _NESTED else _nested(row)
            flat, marks = self._flat(nested), _marks(nested["metric"])
            key = flat[self.id] or flat["question"]
            if key not in documents:
                documents[key] = flat, marks
                continue
            before, known = documents[key]
            if not known.keys().isdisjoint(marks):
                raise ValueError(
                    f"document {key:.60} appears twice in lighteval's details; split the file by run and task"
                )
            before[self.response] = before[self.response] or flat[self.response]
            known.update(marks)
        if len(self._tasks) > 1:
            raise ValueError(f"it has several tasks ({', '.join(self._tasks):.100}); split it by task")
        self.written = all(flat[self.response] for flat, _ in documents.values())
        self.metrics = tuple(dict.fromkeys(name for _, marks in documents.values() for name in marks))
        for flat, marks in documents.values():
            for each in self.each_sample(flat | {METRICS: tuple(map(marks.get, self.metrics))}):
                yield 0, each

    def _flat(self, row: Mapping[str, Any]) -> dict[str, Any]:
        document, reply = row["doc"], row["model_response"]
        if not (isinstance(document, dict) and isinstance(reply, dict) and isinstance(document.get("query"), str)):
            raise ValueError(  # noqa: TRY004 - the file is wrong, not the code
                "it looks like lighteval's details, but a row has no document with a query, or no response"
            )
        self._tasks[str(document.get("task_name") or "")] = None
        self._sizes.add(size if isinstance(size := document.get("generation_size"), int) else None)
        self._shortened += bool(number(reply.get("truncated_tokens_count")))
        texts = texts_of(reply["text"]) if isinstance(reply.get("text"), list) else None
        thoughts = texts_of(reply["reasonings"]) if isinstance(reply.get("reasonings"), list) else None
        if texts and thoughts and len(thoughts) == len(texts):
            texts = list(map(marked, thoughts, texts))
        golds, specific = _golds(document), document.get("specific")
        self.single = self.single and len(golds) == 1
        self.ask(str(reply.get("input") or ""), document["query"])
        return {
            self.response: texts,
            self.gold: " | ".join(golds),
            self.id: str(document.get("id") or "") or None,
            "question": document["query"],
            **self.named(document, specific if isinstance(specific, dict) else {}),
        }

    @property
    def conditions(self) -> dict[str, dict[str, str]]:
        """How the answers were generated, if all rows agree."""
        conditions = super().conditions
        if task := next(filter(None, self._tasks), None):
            conditions["task"] = {"lighteval's task": task}
        if self.written and len(self._sizes) == 1 and (size := next(iter(self._sizes))):
            conditions["budget"] = {"tokens": str(size)}
        return conditions

    def notes(self, metric: str | None) -> list[str]:
        """Notes on shortened prompts, and on what judges the answers."""
        notes = [self.judging_note(metric)] if metric else []
        if self._shortened:
            notes.append(
                f"{counted(self._shortened, 'prompt')} did not fit into the model's context and were truncated."
            )
        return notes


def _golds(document: Mapping[str, Any]) -> list[str]:
    """The gold answers: the choices with the gold indices."""
    choices, indices = document.get("choices"), document.get("gold_index")
    listed = indices if isinstance(indices, list) else [indices]
    if not isinstance(choices, list):
        return []
    chosen = [choices[index] for index in listed if isinstance(index, int) and 0 <= index < len(choices)]
    return [str(gold) for each in chosen for gold in (each if isinstance(each, list) else [each])]


def _marks(metrics: Any) -> dict[str, float]:
    """A row's metrics that are numbers; those of its document's other row are empty."""
    found = {str(name): number(value) for name, value in (metrics if isinstance(metrics, dict) else {}).items()}
    return {name: value for name, value in found.items() if value is not None}


def _nested(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as versions before 0.11 wrote it, some of them with every cell as Python prints it."""
    cells = {
        name: _parsed(row.get(name))
        for name in ("gold", "choices", "gold_index", "metrics", "predictions", "specifics")
    }
    golds = cells["gold"] if isinstance(cells["gold"], list) and cells["gold"] else None
    predictions = cells["predictions"]
    generated = isinstance(predictions, list) and texts_of(predictions) is not None
    return {
        "doc": {
            "query": row["example"],
            "choices": golds or cells["choices"],
            "gold_index": list(range(len(golds))) if golds else cells["gold_index"],
            "specific": cells["specifics"],
        },
        "model_response": {"text": predictions if generated else [], "input": row["full_prompt"]},
        "metric": cells["metrics"],
    }


def _parsed(cell: Any) -> Any:
    try:
        return ast.literal_eval(cell) if isinstance(cell, str) else cell
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
        return None
