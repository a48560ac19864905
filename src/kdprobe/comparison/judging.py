"""Judges answers: by an extractor, or by the metric of the evaluation tool that made the file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdprobe.comparison.answers import Outputs
from kdprobe.comparison.arms import Arm
from kdprobe.comparison.gold_values import refuse_gold_without_values
from kdprobe.comparison.samples.at_k import NO_VALUE
from kdprobe.console import progress
from kdprobe.console.messages import warn
from kdprobe.errors import KdprobeError, quoted
from kdprobe.problems.correctness import judge
from kdprobe.problems.extractors import Extractor


@dataclass(frozen=True)
class JudgedAnswers:
    """All answers of a model, judged by an extractor or by the metric of an evaluation tool.

    Attributes:
        right: Whether each answer is correct, `[answer]`.
        found: Whether each answer has a value, `[answer]`.
        rules: How often each rule applied.
        votes: For sampled answers, a number for the value of each answer, the same for equal values, and -1 for no
            value, `[answer]`; `None` for others, if a metric judged them, or if answers without a value may be correct.
    """

    right: NDArray[np.bool_]
    found: NDArray[np.bool_]
    rules: Counter[str]
    votes: NDArray[np.int64] | None = None


Right = Mapping[str, NDArray[Any]]
"""For each arm, whether it solved each of its problems; for sampled answers, the share of correct ones."""


def judge_outputs(outputs: Outputs, extractor: Extractor) -> JudgedAnswers:
    """Judges every answer with one extractor, in order; keeps two bytes per answer, and votes if there are several."""
    count = len(outputs.responses)
    right, found, rules = np.zeros(count, dtype=bool), np.ones(count, dtype=bool), Counter[str]()
    if outputs.right is not None:
        right[:] = outputs.right
        return JudgedAnswers(right, found, rules)
    numbers: dict[Fraction | None, int] = {None: NO_VALUE}
    votes = None if outputs.samples is None else np.full(count, NO_VALUE, dtype=np.int64)
    with progress(f"Judging {outputs.file}", count, brief=True) as bar:
        for index, (response, gold) in enumerate(bar.over(zip(outputs.responses, outputs.gold, strict=True))):
            answer = judge(response, gold, extractor)
            right[index], found[index] = answer.right, answer.found
            rules[answer.extraction.rule] += 1
            if votes is not None:
                votes[index] = numbers.setdefault(answer.extraction.value, len(numbers))
    if (right & ~found).any():
        # A plugin's extractor that compares something other than values: there is nothing to vote on.
        votes = None
    return JudgedAnswers(right, found, rules, votes)


def judge_arms(
    arms: Sequence[Arm], extractors: Mapping[str, Extractor], chosen: str
) -> dict[str, dict[str, JudgedAnswers]]:
    """Judged answers by extractor, then by arm. A plugin's extractor that fails affects only its own scores.

    Args:
        arms: The arms; their names must be unique.
        extractors: Extractors by name, including the chosen one.
        chosen: The extractor used for the scores.

    Raises:
        KdprobeError: The chosen extractor fails (any other that fails is skipped with a note), the arms are judged by
            different metrics, or `refuse_gold_without_values` rejects one.
    """
    judges = {arm.name: judge_name(arm.outputs, chosen) for arm in arms}
    if len(set(judges.values())) > 1:
        listed = "; ".join(f"{arm.outputs.file} by {judges[arm.name]}" for arm in arms)
        raise KdprobeError(
            f"The answers are judged in different ways: {listed}.", "Only compare arms that answered the same task."
        )
    judged = {}
    for name, extractor in extractors.items():
        if name != chosen and any(arm.outputs.metric for arm in arms):
            continue
        try:
            judged[name] = {arm.name: judge_outputs(arm.outputs, extractor) for arm in arms}
        except Exception as error:
            fault = f"The extractor {name!r} failed on an answer: {quoted(error)}."
            if name == chosen:
                raise KdprobeError(fault, "This is a bug in its plugin; choose another extractor.") from error
            warn(f"Skipped: {fault}")
    for arm in arms:
        refuse_gold_without_values(arm.outputs, (answers[arm.name].right for answers in judged.values()))
    return judged


def judge_name(outputs: Outputs, extractor: str) -> str:
    """What judges answers: the metric of the tool that made the file, else the extractor."""
    return f"{outputs.tool}'s {outputs.metric}" if outputs.metric else extractor
