"""Reads the samples in an inspect_ai log."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import takewhile
from typing import Any

from kdprobe.comparison.reading.columns import CUT_OFF, SAMPLE, THINKING_TOKENS, TOKENS
from kdprobe.comparison.reading.delimited import Rows
from kdprobe.comparison.reading.endings import is_cut_off
from kdprobe.comparison.reading.replies import samples
from kdprobe.comparison.reading.tools.inspect_log import LOG, header_of, is_count, object_of, objects
from kdprobe.comparison.reading.tools.samples import METRICS, SampleRows, number
from kdprobe.words import counted

_MARKS = {"C": 1.0, "I": 0.0, "P": 0.5, "N": 0.0, "yes": 1.0, "true": 1.0, "no": 0.0, "false": 0.0}
"""Scores as inspect_ai's `value_to_float` reads them: correct, incorrect, partially correct, no answer."""
_ATTACHED = "attachment://"
_DECODING = (
    "temperature", "top_p", "top_k", "seed", "stop_seqs", "frequency_penalty", "presence_penalty", "num_choices",
    "best_of", "reasoning_effort", "reasoning_tokens", "system_message",
)  # fmt: skip
"""Settings that change what a model writes, of the many that a log has."""
_OF_SUCCESS = ("match", "includes", "pattern", "answer", "exact", "choice", "model_graded", "accuracy", "correct")
"""Prefixes of scorers that say whether an answer is correct."""
_UNMARKED = 0.5
"""Share of samples that may lack a score, as when a model that grades gives no grade."""
_TOKEN_LIMITS = frozenset({"token", "context"})


_Answer = tuple[dict[str, Any], dict[str, float | None]]
"""A flat row, and its scores by scorer."""


class InspectRows(SampleRows):
    """Reads a log as one flat row per sample and epoch. Samples without a result are left out, and counted."""

    tool = "inspect_ai"
    of_values = ("match", "includes", "pattern", "answer", "exact", "math", "expression")
    of_sample = True
    of_success = ()  # The metrics are in order.
    response, gold, id = "output", "target", "id"

    def reset(self) -> None:
        """Forgets what was read."""
        super().reset()
        self._header: Mapping[str, Any] = {}
        self._read, self._stopped = 0, Counter[str]()

    @staticmethod
    def fits(row: Mapping[str, Any]) -> bool:
        """Whether a row is a log's header."""
        return LOG in row

    def read(self, rows: Rows) -> Rows:
        """The flat rows."""
        self._header = header_of(next(rows)[1][LOG])
        answers: list[_Answer] = []
        seen: set[tuple[str, int]] = set()
        for _, sample in rows:
            if not _is_sample(sample):
                raise ValueError(f"it is {LOG}, but a sample lacks its id, epoch, input or output")
            if (key := (str(sample["id"]), sample["epoch"])) in seen:
                raise ValueError(f"it is {LOG} with two samples that have the id {key[0]:.60} in epoch {key[1]}")
            seen.add(key)
            if reason := _reason_to_leave_out(sample):
                self.left_out[reason] += 1
            else:
                answers.append((self._flat(sample), dict(_marks(sample.get("scores")))))
        self.left_out["missing"] += max(self._planned() - len(seen), 0)
        self.metrics = self._metric_names(answers)
        deciding = next(filter(None, (_marks_most(name, answers) for name in self.metrics)), None)
        kept = [(flat, marks) for flat, marks in answers if deciding is None or marks.get(deciding) is not None]
        self.left_out["without a score"] += len(answers) - len(kept)
        self._read = len(kept)
        if not kept:
            raise ValueError(f"it is {LOG} without an answer; {self._status()}")
        yield from ((0, flat | {METRICS: tuple(map(marks.get, self.metrics))}) for flat, marks in kept)

    def _metric_names(self, answers: list[_Answer]) -> tuple[str, ...]:
        """The scorers: first those that tell right from wrong, by their name or because they have an accuracy."""
        names = dict.fromkeys(name for _, marks in answers for name in marks)
        results = objects(object_of(self._header.get("results")).get("scores"))
        accuracies = {score.get("name") for score in results if "accuracy" in object_of(score.get("metrics"))}
        return tuple(
            sorted(names, key=lambda name: not (name.startswith(_OF_SUCCESS) or name.rpartition("/")[2] in accuracies))
        )

    def _planned(self) -> int:
        """The number of samples that the evaluation was to have, over all epochs; 0 if unknown."""
        spec = object_of(self._header["eval"])
        ids = object_of(spec.get("dataset")).get("sample_ids")
        epochs = object_of(spec.get("config")).get("epochs")
        planned = len(ids) * (epochs if is_count(epochs) else 1) if isinstance(ids, list) else 0
        total = object_of(self._header.get("results")).get("total_samples")
        return max(planned, total if is_count(total) else 0)

    def _flat(self, sample: Mapping[str, Any]) -> dict[str, Any]:
        attached = object_of(sample.get("attachments"))
        choices = objects(object_of(sample["output"]).get("choices"))
        texts = [text for choice in choices for text in (samples(_attach(choice.get("message"), attached)) or [""])]
        self.written = self.written and bool(texts)
        target = sample.get("target")
        golds = [str(gold) for gold in target] if isinstance(target, list) else [str(target or "")]
        self.single = self.single and len(golds) == 1
        asked, question = sample["input"], sample["input"]
        if isinstance(asked, list):
            turns = [turn for turn in objects(asked) if turn.get("role") == "user"]
            question = _text(turns[-1], attached) if turns else ""
        question = str(_attach(question, attached))
        before = takewhile(lambda turn: turn.get("role") != "assistant", objects(sample.get("messages")))
        self.ask("\n\n".join(f"{turn.get('role')}: {_text(turn, attached)}" for turn in before), question)
        limit = object_of(sample.get("limit")).get("type")
        self._stopped.update([str(limit)] if limit else [])
        usage = object_of(object_of(sample["output"]).get("usage"))
        ended = is_cut_off(choices[0].get("stop_reason")) if choices else None
        return {
            self.response: texts,
            self.gold: " | ".join(golds),
            self.id: sample["id"],
            "question": question,
            CUT_OFF[0]: True if limit in _TOKEN_LIMITS else ended,
            TOKENS[0]: usage.get("output_tokens"),
            THINKING_TOKENS[0]: usage.get("reasoning_tokens"),
            SAMPLE[0]: sample["epoch"],
            **self.named(sample, object_of(sample.get("metadata"))),
        }

    @property
    def conditions(self) -> dict[str, dict[str, str]]:
        """How the answers were generated, by the log's header; the prompt's form, if all samples have the same."""
        spec = object_of(self._header["eval"])
        set_for = (
            object_of(spec.get("model_generate_config")),
            object_of(object_of(self._header.get("plan")).get("config")),
        )
        settings = {name: value for config in set_for for name, value in config.items() if value is not None}
        conditions = super().conditions
        if is_count(budget := settings.get("max_tokens")):
            conditions["budget"] = {"tokens": str(budget)}
        conditions["decoding"] = {name: str(settings[name]) for name in _DECODING if name in settings}
        conditions["task"] = {"inspect_ai's task": f"{spec['task']} {spec.get('task_version', '')}".strip()}
        conditions["versions"] = {str(name): str(value) for name, value in object_of(spec.get("packages")).items()}
        return conditions

    def notes(self, metric: str | None) -> list[str]:
        """Notes on samples without a result, on those that a limit stopped, and on what judges the answers."""
        notes = []
        if self._header.get("status") != "success" or any(self.left_out.values()):
            notes.append(f"inspect_ai's log is not complete: {self._status()}.")
        if self._stopped:
            limits = ", ".join(f"{limit} {count}" for limit, count in self._stopped.items())
            notes.append(f"{counted(self._stopped.total(), 'sample')} ran into a limit ({limits}).")
        return [*notes, self.judging_note(metric)] if metric else notes

    def _status(self) -> str:
        """The log's status, and how many samples are read and why not the others."""
        reasons = ", ".join(f"{count} {reason}" for reason, count in self.left_out.items() if count)
        read = f"{self._read} of {self._read + self.left_out.total()} samples are read"
        return f"its status is {self._header.get('status', 'started')!r}, and {read}" + (
            f" ({reasons})" if reasons else ""
        )


def _is_sample(sample: Any) -> bool:
    named = object_of(sample)
    return (
        isinstance(named.get("id"), str | int)
        and is_count(named.get("epoch"))
        and isinstance(named.get("input"), str | list)
        and isinstance(named.get("output"), dict)
    )


def _reason_to_leave_out(sample: Mapping[str, Any]) -> str | None:
    if sample.get("error") and not sample.get("scores"):
        return "ended in an error"
    return "invalidated" if sample.get("invalidation") else None


def _marks(scores: Any) -> Iterator[tuple[str, float | None]]:
    """The scores of a sample as numbers, by scorer; a scorer may give several."""
    for scorer, score in object_of(scores).items():
        value = object_of(score).get("value")
        if isinstance(value, dict):
            yield from ((f"{scorer}/{name}", _mark(inner)) for name, inner in value.items())
        else:
            yield scorer, _mark(value)


def _mark(value: Any) -> float | None:
    mark = _MARKS.get(value, _MARKS.get(value.lower())) if isinstance(value, str) else None
    mark = number(value) if mark is None else mark
    return None if mark is None or math.isnan(mark) else mark


def _marks_most(name: str, answers: list[_Answer]) -> str | None:
    """The scorer, if it marks most samples, and each as correct or not."""
    values = [marks.get(name) for _, marks in answers]
    return name if {0, 1, None} >= set(values) and values.count(None) <= _UNMARKED * len(values) else None


def _attach(value: Any, attached: Mapping[str, Any]) -> Any:
    """A value with its references to attachments resolved."""
    if isinstance(value, str) and value.startswith(_ATTACHED):
        return attached.get(value.removeprefix(_ATTACHED), value)
    if isinstance(value, dict):
        return {key: _attach(inner, attached) for key, inner in value.items()}
    return [_attach(inner, attached) for inner in value] if isinstance(value, list) else value


def _text(turn: Mapping[str, Any], attached: Mapping[str, Any]) -> str:
    """The text of a message."""
    content = _attach(turn.get("content"), attached)
    parts = [str(part.get("text", "")) for part in objects(content)]
    return content if isinstance(content, str) else "".join(parts)
