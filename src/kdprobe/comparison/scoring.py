"""Answers judged by an extractor, and summed up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdprobe.comparison.answers import Outputs
from kdprobe.comparison.arms import Arm
from kdprobe.comparison.gold_values import gold_notes, refuse_gold_without_values
from kdprobe.comparison.step_accuracy import StepAccuracy, StepCounts, step_accuracy
from kdprobe.console import warn
from kdprobe.errors import KdprobeError
from kdprobe.models.thinking import split_thinking
from kdprobe.problems.arithmetic import arithmetic
from kdprobe.problems.correctness import judge
from kdprobe.problems.extractors import Extractor
from kdprobe.problems.reading.numbers import with_plain_digits
from kdprobe.problems.reading.run_on import run_on
from kdprobe.stats.bootstrap import mean_interval
from kdprobe.stats.intervals import Interval, accuracy_interval


@dataclass(frozen=True, kw_only=True)
class Score:
    """A model's score under one extractor.

    Attributes:
        file: Where its answers come from.
        extractor: What read and judged the answers, or lm-eval's metric that judged them.
        n: Answers.
        correct: Those that are right.
        accuracy: Their share.
        interval: Of the accuracy, 95 %.
        no_answer: Share of answers that hold no value, empty ones included; `None` where no extractor read them.
        empty: Share of answers that are empty; `None` where there is no text that the model wrote.
        thinking: Share of answers that hold thinking, which no extractor reads; `None` where there is no text.
        unclosed_thinking: Share of answers whose thinking never ended, so that they have no value; or `None`.
        thinking_tokens: Tokens of thinking of an answer that holds any, or `None` where that is not known.
        cut_off: Share of answers that reached the token budget, or `None` where that is not known.
        mean_tokens: Tokens of an answer, or `None`.
        log_p_gold_value: Mean over the problems, in nats, or `None`.
        log_p_interval: Of that mean, 95 %, or `None`; of a single problem there is none.
        log_p_gold_solution: Mean over the problems of the log-probability of a token of the gold solution, in nats, or
            `None`. A measure of style: it ranks nothing, least of all students that were trained on gold solutions.
        arithmetic: The steps that the answers calculate.
        rules: How often each rule of the extractor fired.
        run_on: Share of answers that run on into another exercise; `None` where there is no text that the model wrote.
        gold_without_value: Gold answers without a number, to which no answer is right; 0 where no extractor reads them.
        columns: The file's columns that hold `response`, `gold` and `id`; `None` where there is none.
        notes: What to know of how the file was read.
    """

    file: str
    extractor: str
    n: int
    correct: int
    accuracy: float
    interval: Interval
    no_answer: float | None
    empty: float | None
    thinking: float | None
    unclosed_thinking: float | None
    thinking_tokens: float | None
    cut_off: float | None
    mean_tokens: float | None
    log_p_gold_value: float | None
    log_p_interval: Interval | None
    log_p_gold_solution: float | None
    arithmetic: StepAccuracy
    rules: dict[str, int]
    run_on: float | None
    gold_without_value: int
    columns: dict[str, str | None]
    notes: list[str]


@dataclass(frozen=True)
class JudgedAnswers:
    """All answers of a model under one extractor, or as lm-eval's metric has them.

    Attributes:
        right: Whether each is right, `[answer]`.
        found: Whether a value was found in it, `[answer]`.
        rules: How often each rule fired.
    """

    right: NDArray[np.bool_]
    found: NDArray[np.bool_]
    rules: Counter[str]


Right = Mapping[str, NDArray[np.bool_]]
"""Arm to whether each of its answers is right."""


def judge_outputs(outputs: Outputs, extractor: Extractor) -> JudgedAnswers:
    """Every answer under one extractor, in order; what is kept of each takes two bytes."""
    count = len(outputs.responses)
    judged = JudgedAnswers(np.zeros(count, dtype=bool), np.ones(count, dtype=bool), Counter())
    if outputs.right is not None:
        judged.right[:] = outputs.right
        return judged
    for index, (response, gold) in enumerate(zip(outputs.responses, outputs.gold, strict=True)):
        answer = judge(response, gold, extractor)
        judged.right[index], judged.found[index] = answer.right, answer.found
        judged.rules[answer.extraction.rule] += 1
    return judged


def judge_arms(
    arms: Sequence[Arm], extractors: Mapping[str, Extractor], chosen: str
) -> dict[str, dict[str, JudgedAnswers]]:
    """Extractor to arm to its answers as judged; one of a plugin that fails costs its own scores, not the others'.

    Args:
        arms: With names that differ.
        extractors: By name, the chosen one among them.
        chosen: The extractor that decides.

    Raises:
        KdprobeError: The chosen extractor fails; any other one that does is left out with a note. Or the arms are
            judged by different metrics, or `refuse_gold_without_values` refuses one.
    """
    metrics = {arm.outputs.metric for arm in arms}
    if len(metrics) > 1:
        listed = "; ".join(f"{arm.outputs.file} by {_judge_name(arm.outputs, chosen)}" for arm in arms)
        raise KdprobeError(f"The answers are judged in different ways: {listed}.", "Compare answers to one task.")
    judged = {}
    for name, extractor in extractors.items():
        if name != chosen and metrics != {None}:
            continue
        try:
            judged[name] = {arm.name: judge_outputs(arm.outputs, extractor) for arm in arms}
        except Exception as error:
            fault = f"The extractor {name!r} fails at reading an answer: {type(error).__name__}: {error}."
            if name == chosen:
                raise KdprobeError(fault, "This is a fault of its plugin; choose another extractor.") from error
            warn(f"Left out: {fault}")
    for arm in arms:
        refuse_gold_without_values(arm.outputs, (answers[arm.name].right for answers in judged.values()))
    return judged


def shared_groups(outputs: Outputs, rows: Sequence[int] | NDArray[np.intp]) -> list[str] | None:
    """The groups of the problems in these rows; `None` where they are not known, all one, or of one problem each."""
    if outputs.groups is None:
        return None
    groups = [outputs.groups[row] for row in rows]
    return groups if 1 < len(set(groups)) < len(groups) else None


def calculated(outputs: Outputs) -> StepCounts:
    """What every answer calculates, in order; what a model calculates while it thinks is no step of its answer."""
    cut = outputs.cut_off or [False] * len(outputs.responses)
    counts = np.zeros((len(cut), 2))
    for index, (text, ended) in enumerate(zip(outputs.responses, cut, strict=True)):
        answer = arithmetic(split_thinking(text).answer, cut_off=ended)
        counts[index] = answer.steps, answer.right
    return counts


def scores(outputs: Outputs, extractors: Mapping[str, Extractor]) -> list[Score]:
    """A score under each of these extractors, by name; a single one where lm-eval's metric judges.

    Raises:
        KdprobeError: As `refuse_gold_without_values` raises.
    """
    judging = list(extractors.items())[:1] if outputs.metric else extractors.items()
    judged = {name: judge_outputs(outputs, extractor) for name, extractor in judging}
    refuse_gold_without_values(outputs, (found.right for found in judged.values()))
    steps = step_accuracy(calculated(outputs))
    return [Score(**score_fields(outputs, name, found, steps)) for name, found in judged.items()]


def score_fields(outputs: Outputs, name: str, judged: JudgedAnswers, steps: StepAccuracy) -> dict[str, Any]:
    """The fields of a `Score`, from what `judge_outputs` found under the extractor of this name."""
    n, correct = len(judged.right), int(judged.right.sum())
    log_p = None if outputs.log_p_gold_value is None else np.asarray(outputs.log_p_gold_value, dtype=float)
    style = outputs.log_p_gold_solution
    without_text = outputs.metric and outputs.columns.get("response") is None
    empty, thinking, unclosed, runs_on = (None,) * 4 if without_text else _text_shares(outputs.responses)
    thinking_tokens = [tokens for tokens in outputs.thinking_tokens or [] if tokens]
    return {
        "file": outputs.file,
        "extractor": _judge_name(outputs, name),
        "n": n,
        "correct": correct,
        "accuracy": correct / n,
        "interval": accuracy_interval(correct, n),
        "no_answer": None if outputs.metric else float(1 - judged.found.mean()),
        "empty": empty,
        "thinking": thinking,
        "unclosed_thinking": unclosed,
        "thinking_tokens": sum(thinking_tokens) / len(thinking_tokens) if thinking_tokens else None,
        "cut_off": None if outputs.cut_off is None else sum(outputs.cut_off) / n,
        "mean_tokens": None if outputs.tokens is None else sum(outputs.tokens) / n,
        "log_p_gold_value": None if log_p is None else float(log_p.mean()),
        "log_p_interval": None if log_p is None else mean_interval(log_p),
        "log_p_gold_solution": None if style is None else sum(style) / n,
        "arithmetic": steps,
        "rules": dict(judged.rules.most_common()),
        "run_on": runs_on,
        "gold_without_value": 0 if outputs.metric else outputs.gold_without_value,
        "columns": dict(outputs.columns),
        "notes": [*outputs.notes, *gold_notes(outputs)],
    }


def _text_shares(responses: Sequence[str]) -> tuple[float, float, float, float]:
    """Shares of answers that are empty, that hold thinking, whose thinking never ended, and that run on."""
    empty = thinking = unclosed = runs_on = 0
    for response in responses:
        written = split_thinking(response)
        empty += not written.answer.strip() and written.thinking is None
        thinking += written.thinking is not None
        unclosed += not written.closed
        runs_on += run_on(with_plain_digits(written.answer)) is not None
    count = len(responses)
    return empty / count, thinking / count, unclosed / count, runs_on / count


def _judge_name(outputs: Outputs, extractor: str) -> str:
    return f"lm-eval's {outputs.metric}" if outputs.metric else extractor
