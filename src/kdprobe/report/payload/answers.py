"""Every answer of every arm to every problem, with what was read in it and how it was judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypedDict

from kdprobe.comparison.answers import Outputs
from kdprobe.comparison.arms import Arm
from kdprobe.comparison.pairing import pair_up
from kdprobe.comparison.samples.by_problem import ByProblem, by_problem
from kdprobe.console.streams import visible
from kdprobe.models.thinking import split_thinking
from kdprobe.problems.correctness import judge
from kdprobe.problems.extractors import Extractor

Solutions = Mapping[str, str]
"""The gold solution of each problem, by its id."""


class ShownProblem(TypedDict):
    """A problem; `solution` and `group` are `None` if unknown, and `question` is empty."""

    id: str
    question: str
    gold: str
    solution: str | None
    group: str | None


class ShownSample(TypedDict):
    """One more answer of an arm to the same problem."""

    text: str
    value: str | None
    right: bool


class ShownAnswer(TypedDict):
    """One answer of one arm.

    Attributes:
        text: What the student wrote after its thinking.
        thinking: What it thought, or `None`.
        span: Position in the text of the value that was read, in UTF-16 units as in JavaScript, or `None`.
        value: The value that was read, or `None`.
        right: Whether it is correct.
        cut: Whether it reached the token budget, or `None` if unknown.
        tokens: Its tokens, or `None`.
        log_p: log p(gold value), in nats, or `None`.
        others: The other samples of the problem, if it has several; this is the first.
    """

    text: str
    thinking: str | None
    span: tuple[int, int] | None
    value: str | None
    right: bool
    cut: bool | None
    tokens: int | None
    log_p: float | None
    others: list[ShownSample]


class Answers(TypedDict):
    """All answers.

    Attributes:
        problems: The problems.
        arms: For every arm, its answer to every problem; `None` where it gave none.
        read: Whether an extractor read the answers, so that one may have no value.
    """

    problems: list[ShownProblem]
    arms: list[list[ShownAnswer | None]]
    read: bool


def shown_answers(arms: Sequence[Arm], extractor: Extractor, solutions: Solutions | None = None) -> Answers | None:
    """All answers by problem, or `None` if there are none.

    Args:
        arms: All arms, including those without answers.
        extractor: The extractor that decides.
        solutions: The gold solutions, if known.
    """
    answering = [arm for arm in arms if not arm.absent]
    if not answering:
        return None
    grouped = {arm.name: by_problem(arm.outputs) for arm in answering}
    answering = [replace(arm, outputs=grouped[arm.name].first) for arm in answering]
    rows = pair_up(answering).rows
    held = {name: _rows_by_problem(each) for name, each in grouped.items()}
    keys = list(dict.fromkeys(key for arm in answering for key in rows[arm.name]))
    first = {key: arm for arm in reversed(answering) for key in rows[arm.name]}
    return {
        "problems": [_problem(first[key].outputs, rows[first[key].name][key], solutions or {}) for key in keys],
        "arms": [
            [
                _answer(arm.outputs, held[arm.name][rows[arm.name][key]], extractor)
                if key in rows.get(arm.name, {})
                else None
                for key in keys
            ]
            for arm in arms
        ],
        "read": all(arm.outputs.metric is None for arm in answering),
    }


def _problem(outputs: Outputs, row: int, solutions: Solutions) -> ShownProblem:
    name = outputs.ids[row] if outputs.ids else str(row + 1)
    return {
        "id": visible(name),
        "question": visible(outputs.questions[row]) if outputs.questions else "",
        "gold": visible(outputs.gold[row]),
        "solution": visible(solutions[name]) if name in solutions else None,
        "group": visible(outputs.groups[row]) if outputs.groups else None,
    }


def _rows_by_problem(grouped: ByProblem) -> list[list[int]]:
    """The rows of each problem's answers, the first sample before the others."""
    if grouped.problems is None:
        return [[row] for row in range(len(grouped.answers))]
    rows: list[list[int]] = [[] for _ in grouped.answers]
    for row, problem in enumerate(grouped.problems.tolist()):
        rows[problem].append(row)
    return rows


def _answer(outputs: Outputs, rows: Sequence[int], extractor: Extractor) -> ShownAnswer:
    first, *others = sorted(rows, key=outputs.samples.__getitem__ if outputs.samples else None)
    return {**_one(outputs, first, extractor), "others": [_sample(_one(outputs, row, extractor)) for row in others]}


def _sample(answer: ShownAnswer) -> ShownSample:
    return {"text": answer["text"], "value": answer["value"], "right": answer["right"]}


def _one(outputs: Outputs, row: int, extractor: Extractor) -> ShownAnswer:
    written = split_thinking(outputs.responses[row])
    text = visible(written.answer)
    span, value = None, None
    if outputs.right is None:
        judged = judge(outputs.responses[row], outputs.gold[row], extractor)
        right, value = judged.right, judged.extraction.value
        # A text in which a secret was blacked out has other positions.
        if judged.extraction.where and len(text) == len(written.answer):
            start, end = judged.extraction.where
            span = (_units(text[:start]), _units(text[:end]))
    else:
        right = outputs.right[row]
    return {
        "text": text,
        "thinking": None if written.thinking is None else visible(written.thinking),
        "span": span,
        "value": None if value is None else str(value),
        "right": bool(right),
        "cut": outputs.cut_off[row] if outputs.cut_off else None,
        "tokens": outputs.tokens[row] if outputs.tokens else None,
        "log_p": outputs.log_p_gold_value[row] if outputs.log_p_gold_value else None,
        "others": [],
    }


def right_of(answer: ShownAnswer) -> tuple[int, int]:
    """How many of an arm's answers to a problem are correct, and how many there are."""
    return answer["right"] + sum(each["right"] for each in answer["others"]), 1 + len(answer["others"])


def _units(text: str) -> int:
    """The length of a text in UTF-16 units."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le")) // 2
