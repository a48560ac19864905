"""Which of the teacher's answers students learn from.

Rejection by the gold value leaves different problems to different strategies: a primed teacher that solves more gives
its student more, and more difficult, problems. `matched` keeps the same problems, and as many answers to each, in
every arm, so that what is left to compare is how the answers are written.
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
"""A problem's id and which of its answers."""


def is_right(response: Response, problem: Problem) -> bool:
    """Whether the value read from a response is the gold value."""
    return matches(extract(response.text), problem.value)


def right_answers(responses: Sequence[Response], problems: Sequence[Problem]) -> list[Answer]:
    """The answers that give the gold value."""
    by_id = {problem.id: problem for problem in problems}
    return [(response.id, response.sample) for response in responses if is_right(response, by_id[response.id])]


def matched(right: Mapping[str, Sequence[Answer]]) -> dict[str, list[Answer]]:
    """Of every arm's right answers, as many to each problem as the arm with the fewest has.

    Args:
        right: Arm to its right answers, the samples of a problem in their order.

    Returns:
        Arm to the answers that are kept, the first ones of each problem.
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
    """Refuses a selection that leaves an arm without answers.

    Raises:
        KdprobeError: There is nothing left to learn from.
    """
    if not all(kept.values()):
        raise KdprobeError(
            "No answer of the teacher is left to learn from: none has the gold value under every strategy asked for.",
            'Ask for more answers with transfer.samples, use a better teacher, or set transfer.filter = "none".',
        )
