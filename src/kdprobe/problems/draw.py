"""Taking the problems of an experiment from a source, and checking that what is tested was not trained on."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice

from kdprobe.errors import KdprobeError
from kdprobe.problems.problem import Problem, Split

Source = Callable[[Split], Iterable[Problem]]


@dataclass(frozen=True)
class Draw:
    """The problems of an experiment: ids and questions unique within each split, no question in both."""

    transfer: tuple[Problem, ...]
    test: tuple[Problem, ...]


def draw(source: Source, *, transfer: int, test: int) -> Draw:
    """Takes the first problems of each split.

    Args:
        source: `(split) -> problems`.
        transfer: How many problems the teacher answers.
        test: How many problems decide.

    Raises:
        KdprobeError: The source has fewer, an id or a question occurs twice, or a question is in both splits.
    """
    drawn = Draw(transfer=_take(source, "transfer", transfer), test=_take(source, "test", test))
    trained = {normalised(problem.question): problem for problem in drawn.transfer}
    for problem in drawn.test:
        if twin := trained.get(normalised(problem.question)):
            raise KdprobeError(
                f"Test problem {problem.id} is also transfer problem {twin.id}.",
                "Draw the two from different files or splits; a test on what was trained on tests nothing.",
            )
    return drawn


def normalised(question: str) -> str:
    """A question without case, punctuation and spacing, to compare questions by."""
    return re.sub(r"\W+", " ", question.lower()).strip()


def _take(source: Source, split: Split, count: int) -> tuple[Problem, ...]:
    problems = tuple(islice(source(split), count))
    if len(problems) < count:
        raise KdprobeError(
            f"The problem source has {len(problems)} {split} problems, {count} are asked for.",
            f"Lower problems.{split} in the config.",
        )
    ids: set[str] = set()
    questions: dict[str, str] = {}
    for problem in problems:
        twin = questions.setdefault(normalised(problem.question), problem.id)
        if twin != problem.id:
            raise KdprobeError(
                f"The {split} problems {twin} and {problem.id} ask the same question.",
                "Remove one of them; a problem that counts twice makes every interval too narrow.",
            )
        if problem.id in ids:
            raise KdprobeError(f"The {split} problems hold the id {problem.id!r} twice.", "Ids must be unique.")
        ids.add(problem.id)
    return problems
