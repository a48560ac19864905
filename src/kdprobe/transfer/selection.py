"""Selects the teacher's answers that students learn from.

Filtering by the gold value leaves different strategies with different problems: a primed teacher that solves more gives
its student more problems, and harder ones. `matched` keeps the same problems in every arm, with the same number of
answers to each, so that only the way the answers are written differs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal

from kdprobe.errors import KdprobeError
from kdprobe.problems.answers import extract, matches
from kdprobe.problems.problem import Problem
from kdprobe.teachers.teacher import Response

Policy = Literal["none", "correct", "matched"]
Answer = tuple[str, int]
"""A problem's id and the index of the answer."""


def is_right(response: Response, problem: Problem) -> bool:
    """Whether the value read from a response is the gold value."""
    return matches(extract(response.text), problem.value)


def right_answers(responses: Sequence[Response], problems: Sequence[Problem]) -> list[Answer]:
    """The answers that give the gold value."""
    by_id = {problem.id: problem for problem in problems}
    return [(response.id, response.sample) for response in responses if is_right(response, by_id[response.id])]


def matched(right: Mapping[str, Sequence[Answer]]) -> dict[str, list[Answer]]:
    """For each problem, keeps as many correct answers in every arm as the arm with the fewest has.

    Args:
        right: Correct answers by arm, the samples of a problem in order.

    Returns:
        The answers kept in each arm: the first ones to each problem.
    """
    counts = [Counter(problem for problem, _ in answers) for answers in right.values()]
    kept: dict[str, list[Answer]] = {}
    for arm, answers in right.items():
        taken: Counter[str] = Counter()
        kept[arm] = []
        for problem, sample in answers:
            if taken[problem] < min(count[problem] for count in counts):
                taken[problem] += 1
                kept[arm].append((problem, sample))
    return kept


def refuse_nothing(kept: Mapping[str, Sequence[Answer]]) -> None:
    """Rejects a selection that leaves an arm without answers.

    Raises:
        KdprobeError: An arm has nothing left to learn from.
    """
    if not all(kept.values()):
        (only, *others) = kept
        reason = (
            "there is no problem that the teacher answered correctly under all strategies"
            if others
            else f"none of the teacher's answers under {only!r} is correct"
        )
        raise KdprobeError(
            f"The filter leaves no teacher answers to learn from: {reason}.",
            'Request more answers with transfer.samples, use a better teacher, or set transfer.filter = "none".',
        )
