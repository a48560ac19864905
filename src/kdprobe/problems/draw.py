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
    if twins := _shared(drawn.test, drawn.transfer):
        raise KdprobeError(
            f"Test problem {twins[0].id} is also transfer problem {twins[1].id}.",
            "Draw the two from different files or splits; a test on what was trained on tests nothing.",
        )
    return drawn


def draw_validation(source: Source, drawn: Draw, count: int) -> tuple[Problem, ...]:
    """Takes the problems of the transfer split that come right after those of a draw.

    Args:
        source: Where the draw is from.
        drawn: What trains and what tests; validation problems are none of them.
        count: How many.

    Raises:
        KdprobeError: The source has fewer, a question occurs twice, or it is a transfer or a test problem too.
    """
    start = len(drawn.transfer)
    problems = tuple(islice(source("transfer"), start + count))
    if len(problems) < start + count:
        raise KdprobeError(
            f"The problem source has {len(problems)} transfer problems, {start} to train on and {count} to validate on "
            "are asked for.",
            "Lower tune.validation or problems.transfer in the config.",
        )
    if problems[:start] != drawn.transfer:
        raise KdprobeError(
            "The problem source gave other problems when it was asked again.", "This is a fault of its plugin."
        )
    refuse_twins(problems, "transfer")
    validation = problems[start:]
    if twins := _shared(validation, drawn.test):
        raise KdprobeError(
            f"Validation problem {twins[0].id} is also test problem {twins[1].id}.",
            "Remove one of them; a test on what options were chosen by is no test.",
        )
    return validation


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
    refuse_twins(problems, split)
    return problems


def _shared(problems: Iterable[Problem], others: Iterable[Problem]) -> tuple[Problem, Problem] | None:
    """The first two problems, one of each, that ask the same question."""
    by_question = {normalised(problem.question): problem for problem in others}
    for problem in problems:
        if twin := by_question.get(normalised(problem.question)):
            return problem, twin
    return None


def first_problems(source: Source, limit: int | None) -> tuple[Problem, ...]:
    """The first test problems of a source, as many as there are.

    Args:
        source: Where they come from.
        limit: How many at most; `None` for all.

    Raises:
        KdprobeError: There are none, or two ask the same.
    """
    problems = tuple(islice(source("test"), limit))
    if not problems:
        raise KdprobeError("The problem source has no test problems.", "Name another with --problems.")
    refuse_twins(problems, "test")
    return problems


def refuse_twins(problems: Iterable[Problem], split: Split) -> None:
    """Refuses problems that ask one question twice.

    Raises:
        KdprobeError: There are such, or one id is there twice.
    """
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
