"""Answers judged by an extractor, and summed up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kdprobe.evaluation.outputs import Outputs
from kdprobe.evaluation.statistics import Interval, accuracy_interval, mean_interval
from kdprobe.evaluation.validity import Validity, validity
from kdprobe.problems.arithmetic import Arithmetic, arithmetic
from kdprobe.problems.extractors import Extractor


@dataclass(frozen=True, kw_only=True)
class Score:
    """A model's figures under one extractor.

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
    arithmetic: Validity
    rules: dict[str, int]


@dataclass(frozen=True)
class Judged:
    """One answer under one extractor.

    Attributes:
        rule: Which rule fired.
        found: Whether a value was found.
        right: Whether it is the gold value.
    """

    rule: str
    found: bool
    right: bool


def judge(outputs: Outputs, extractor: Extractor) -> list[Judged]:
    """Reads every answer and compares it with its gold value, in order."""
    judged = []
    for response, gold in zip(outputs.responses, outputs.gold, strict=True):
        extraction = extractor.extract(response)
        right = extractor.is_right(extraction, gold)
        judged.append(Judged(extraction.rule, extraction.value is not None, right))
    return judged


def calculated(outputs: Outputs) -> list[Arithmetic]:
    """What every answer calculates, in order."""
    cut = outputs.cut_off or [False] * len(outputs.responses)
    return [arithmetic(text, cut_off=ended) for text, ended in zip(outputs.responses, cut, strict=True)]


def scores(outputs: Outputs, extractors: Mapping[str, Extractor]) -> list[Score]:
    """A score under each of these extractors, by name."""
    steps = validity(calculated(outputs))
    return [Score(**figures(outputs, name, judge(outputs, one), steps)) for name, one in extractors.items()]


def figures(outputs: Outputs, name: str, judged: Sequence[Judged], steps: Validity) -> dict[str, Any]:
    """The fields of a `Score`, from what `judge` found under the extractor of this name."""
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
        "rules": dict(Counter(answer.rule for answer in judged).most_common()),
    }
