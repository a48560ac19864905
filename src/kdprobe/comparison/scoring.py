"""Summarises judged answers as scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdprobe.comparison.answers import Outputs
from kdprobe.comparison.gold_values import gold_notes, refuse_gold_without_values
from kdprobe.comparison.judging import JudgedAnswers, judge_name, judge_outputs
from kdprobe.comparison.samples.at_k import AtK, AtProblems, at_k, at_problems
from kdprobe.comparison.samples.by_problem import (
    ByProblem,
    by_problem,
    interval_over_problems,
    repeat_notes,
    repeated_problems,
    sums_by_problem,
)
from kdprobe.comparison.step_accuracy import StepAccuracy, StepCounts, step_accuracy
from kdprobe.comparison.text_shares import TextShares, text_shares
from kdprobe.console import progress
from kdprobe.models.thinking import split_thinking
from kdprobe.problems.arithmetic import arithmetic
from kdprobe.problems.extractors import Extractor
from kdprobe.stats.bootstrap import mean_interval
from kdprobe.stats.intervals import Interval


@dataclass(frozen=True, kw_only=True)
class Score:
    """A model's score under one extractor.

    Attributes:
        file: The file or stage the answers come from.
        extractor: The extractor that judged the answers, or the metric of the tool that made the file.
        n: Number of answers.
        problems: Number of problems.
        correct: Number of correct answers.
        accuracy: Share of correct answers.
        interval: 95% interval of the accuracy.
        no_answer: Share of answers without a value, including empty ones; `None` if no extractor read them.
        empty: Share of answers that are empty; `None` if the model wrote no text.
        thinking: Share of answers with thinking, which no extractor reads; `None` if there is no text.
        unclosed_thinking: Share of answers whose thinking never ended, so that they have no value; or `None`.
        thinking_tokens: Mean number of thinking tokens over the answers that have any, or `None` if unknown.
        cut_off: Share of answers that reached the token budget, or `None` if unknown.
        mean_tokens: Mean tokens per answer, or `None`.
        log_p_gold_value: Mean over problems, in nats, or `None`.
        log_p_interval: 95% interval of that mean, or `None`; a single problem has none.
        log_p_gold_solution: Mean over problems of the log-probability per token of the gold solution, in nats, or
            `None`. It measures style and ranks nothing, least of all students that were trained on gold solutions.
        arithmetic: The accuracy of the calculation steps in the answers.
        rules: How often each rule of the extractor applied.
        run_on: Share of answers that run on into another problem; `None` if the model wrote no text.
        gold_without_value: Number of gold answers without a number, which no answer matches; 0 if no extractor reads
            them.
        left_out: Number of samples of an evaluation that have no result, and so do not count among the answers.
        columns: The file's columns for `response`, `gold` and `id`; `None` for a column it lacks.
        notes: Notes on how the file was read.
        samples: Number of answers sampled for each problem; if it differs, the largest.
        at_k: With several samples, pass@k and maj@k for some k.
        identical_samples: Whether all samples of each problem are the same text, so that nothing was sampled.
    """

    file: str
    extractor: str
    n: int
    problems: int
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
    left_out: int
    columns: dict[str, str | None]
    notes: list[str]
    samples: int = 1
    at_k: list[AtK] = field(default_factory=list)
    identical_samples: bool = False


def shared_groups(outputs: Outputs, rows: Sequence[int] | NDArray[np.intp]) -> list[str] | None:
    """The groups of the problems in these rows; `None` if unknown, if there is only one, or if each has one problem."""
    if outputs.groups is None:
        return None
    groups = [outputs.groups[row] for row in rows]
    return groups if 1 < len(set(groups)) < len(groups) else None


def calculated(outputs: Outputs) -> StepCounts:
    """The calculation steps of every answer, in order; steps within thinking do not count."""
    cut = outputs.cut_off or [False] * len(outputs.responses)
    counts = np.zeros((len(cut), 2))
    with progress(f"Steps of {outputs.file}", len(cut), brief=True) as bar:
        for index, (text, ended) in enumerate(bar.over(zip(outputs.responses, cut, strict=True))):
            answer = arithmetic(split_thinking(text).answer, cut_off=ended)
            counts[index] = answer.steps, answer.right
    return counts


@dataclass(frozen=True)
class Examined:
    """What is known of a model's answers whichever extractor judges them.

    Attributes:
        outputs: The answers.
        grouped: The samples of each problem.
        problems: The result of `repeated_problems`.
        steps: The calculation steps of each answer.
        arithmetic: The accuracy of these steps.
        texts: What the answers are like as texts.
    """

    outputs: Outputs
    grouped: ByProblem
    problems: Sequence[str] | None
    steps: StepCounts
    arithmetic: StepAccuracy
    texts: TextShares


def examined(outputs: Outputs, grouped: ByProblem) -> Examined:
    """Reads all answers of a model, once for all extractors.

    Args:
        outputs: The answers.
        grouped: The samples of each problem.
    """
    problems, steps = repeated_problems(outputs), calculated(outputs)
    return Examined(outputs, grouped, problems, steps, step_accuracy(steps, problems), text_shares(outputs))


def scores(outputs: Outputs, extractors: Mapping[str, Extractor]) -> list[Score]:
    """Scores under each of these extractors; a single score if an evaluation tool's metric judges the answers.

    Raises:
        KdprobeError: See `refuse_gold_without_values`.
    """
    judging = list(extractors.items())[:1] if outputs.metric else extractors.items()
    judged = {name: judge_outputs(outputs, extractor) for name, extractor in judging}
    refuse_gold_without_values(outputs, (found.right for found in judged.values()))
    answers = examined(outputs, by_problem(outputs))
    return [
        Score(**score_fields(answers, name, found, at_problems(answers.grouped, found.right, found.votes)))
        for name, found in judged.items()
    ]


def score_fields(answers: Examined, name: str, judged: JudgedAnswers, at: AtProblems) -> dict[str, Any]:
    """The fields of a `Score`.

    Args:
        answers: The answers.
        name: The extractor that judged them.
        judged: The answers as judged.
        at: pass@k and maj@k of each problem.
    """
    outputs, problems, texts = answers.outputs, answers.problems, answers.texts
    n, correct = len(judged.right), int(judged.right.sum())
    log_p = None if outputs.log_p_gold_value is None else np.asarray(outputs.log_p_gold_value, dtype=float)
    style = outputs.log_p_gold_solution
    thinking_tokens = [tokens for tokens in outputs.thinking_tokens or [] if tokens]
    return {
        "file": outputs.file,
        "extractor": judge_name(outputs, name),
        "n": n,
        "problems": n if problems is None else len(set(problems)),
        "correct": correct,
        "accuracy": correct / n,
        "interval": interval_over_problems(judged.right, problems),
        "no_answer": None if outputs.metric else float(1 - judged.found.mean()),
        "empty": texts.empty,
        "thinking": texts.thinking,
        "unclosed_thinking": texts.unclosed,
        "thinking_tokens": sum(thinking_tokens) / len(thinking_tokens) if thinking_tokens else None,
        "cut_off": None if outputs.cut_off is None else sum(outputs.cut_off) / n,
        "mean_tokens": None if outputs.tokens is None else sum(outputs.tokens) / n,
        "log_p_gold_value": None if log_p is None else float(log_p.mean()),
        "log_p_interval": None if log_p is None else _log_p_interval(log_p, problems),
        "log_p_gold_solution": None if style is None else sum(style) / n,
        "arithmetic": answers.arithmetic,
        "rules": dict(judged.rules.most_common()),
        "run_on": texts.runs_on,
        "gold_without_value": 0 if outputs.metric else outputs.gold_without_value,
        "left_out": outputs.left_out,
        "columns": dict(outputs.columns),
        "notes": [*outputs.notes, *gold_notes(outputs), *repeat_notes(answers.grouped, problems)],
        "samples": answers.grouped.samples,
        "at_k": at_k(at),
        "identical_samples": answers.grouped.identical(outputs.responses),
    }


def _log_p_interval(log_p: NDArray[np.float64], problems: Sequence[str] | None) -> Interval:
    """The interval of the mean over problems, each with the mean of its answers; at most 0, as log p is."""
    answers = sums_by_problem(np.ones(len(log_p)), problems)
    interval = mean_interval(sums_by_problem(log_p, problems) / answers)
    return Interval(interval.low, min(0.0, interval.high)) if interval.known else interval
