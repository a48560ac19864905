"""Answers judged by an extractor, and summed up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kdprobe.comparison.answers import Outputs
from kdprobe.comparison.arms import Arm
from kdprobe.comparison.step_accuracy import StepAccuracy, step_accuracy
from kdprobe.console import note
from kdprobe.errors import KdprobeError
from kdprobe.problems.arithmetic import Arithmetic, arithmetic
from kdprobe.problems.correctness import Judged, judge
from kdprobe.problems.extractors import Extractor
from kdprobe.stats.bootstrap import mean_interval
from kdprobe.stats.intervals import Interval, accuracy_interval


@dataclass(frozen=True, kw_only=True)
class Score:
    """A model's score under one extractor.

    Attributes:
        file: Where its answers come from.
        extractor: What read and judged the answers.
        n: Answers.
        correct: Those that are right.
        accuracy: Their share.
        interval: Of the accuracy, 95 %.
        no_answer: Share of answers that hold no value, empty ones included.
        empty: Share of answers that are empty.
        cut_off: Share of answers that reached the token budget, or `None` where that is not known.
        mean_tokens: Tokens of an answer, or `None`.
        log_p_gold_value: Mean over the problems, in nats, or `None`.
        log_p_interval: Of that mean, 95 %, or `None`.
        log_p_gold_solution: Mean over the problems of the log-probability of a token of the gold solution, in nats, or
            `None`. A measure of style: it ranks nothing, least of all students that were trained on gold solutions.
        arithmetic: The steps that the answers calculate.
        rules: How often each rule of the extractor fired.
    """

    file: str
    extractor: str
    n: int
    correct: int
    accuracy: float
    interval: Interval
    no_answer: float
    empty: float
    cut_off: float | None
    mean_tokens: float | None
    log_p_gold_value: float | None
    log_p_interval: Interval | None
    log_p_gold_solution: float | None
    arithmetic: StepAccuracy
    rules: dict[str, int]


def judge_outputs(outputs: Outputs, extractor: Extractor) -> list[Judged]:
    """Every answer under one extractor, in order."""
    return [judge(response, gold, extractor) for response, gold in zip(outputs.responses, outputs.gold, strict=True)]


def judge_arms(
    arms: Sequence[Arm], extractors: Mapping[str, Extractor], chosen: str
) -> dict[str, dict[str, list[Judged]]]:
    """Extractor to arm to its answers as judged; one of a plugin that fails costs its own scores, not the others'.

    Args:
        arms: With names that differ.
        extractors: By name, the chosen one among them.
        chosen: The extractor that decides.

    Raises:
        KdprobeError: The chosen extractor fails; any other one that does is left out with a note.
    """
    judged = {}
    for name, extractor in extractors.items():
        try:
            judged[name] = {arm.name: judge_outputs(arm.outputs, extractor) for arm in arms}
        except Exception as error:
            fault = f"The extractor {name!r} fails at reading an answer: {type(error).__name__}: {error}."
            if name == chosen:
                raise KdprobeError(fault, "This is a fault of its plugin; choose another extractor.") from error
            note(f"Left out: {fault}")
    return judged


def calculated(outputs: Outputs) -> list[Arithmetic]:
    """What every answer calculates, in order."""
    cut = outputs.cut_off or [False] * len(outputs.responses)
    return [arithmetic(text, cut_off=ended) for text, ended in zip(outputs.responses, cut, strict=True)]


def scores(outputs: Outputs, extractors: Mapping[str, Extractor]) -> list[Score]:
    """A score under each of these extractors, by name."""
    steps = step_accuracy(calculated(outputs))
    return [
        Score(**score_fields(outputs, name, judge_outputs(outputs, extractor), steps))
        for name, extractor in extractors.items()
    ]


def score_fields(outputs: Outputs, name: str, judged: Sequence[Judged], steps: StepAccuracy) -> dict[str, Any]:
    """The fields of a `Score`, from what `judge_outputs` found under the extractor of this name."""
    n, correct = len(judged), sum(answer.right for answer in judged)
    log_p = None if outputs.log_p_gold_value is None else np.asarray(outputs.log_p_gold_value, dtype=float)
    style = outputs.log_p_gold_solution
    return {
        "file": outputs.file,
        "extractor": name,
        "n": n,
        "correct": correct,
        "accuracy": correct / n,
        "interval": accuracy_interval(correct, n),
        "no_answer": sum(not answer.found for answer in judged) / n,
        "empty": sum(not response.strip() for response in outputs.responses) / n,
        "cut_off": None if outputs.cut_off is None else sum(outputs.cut_off) / n,
        "mean_tokens": None if outputs.tokens is None else sum(outputs.tokens) / n,
        "log_p_gold_value": None if log_p is None else float(log_p.mean()),
        "log_p_interval": None if log_p is None else mean_interval(log_p),
        "log_p_gold_solution": None if style is None else sum(style) / n,
        "arithmetic": steps,
        "rules": dict(Counter(answer.extraction.rule for answer in judged).most_common()),
    }
