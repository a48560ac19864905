"""Draws the problems of an experiment from a source, and checks that no test problem is used for training."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice

from kdprobe.errors import KdprobeError
from kdprobe.problems.problem import Problem, Split
from kdprobe.words import counted

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
        transfer: Number of problems for the teacher.
        test: Number of test problems.

    Raises:
        KdprobeError: The source has fewer, an id or a question occurs twice, or a question is in both splits.
    """
    drawn = Draw(transfer=_take(source, "transfer", transfer), test=_take(source, "test", test))
    if twins := _shared(drawn.test, drawn.transfer):
        raise KdprobeError(
            f"Test problem {twins[0].id} is also transfer problem {twins[1].id}.",
            "Draw the test and transfer problems from different files or splits; testing on training "
            "problems shows nothing.",
        )
    return drawn


def draw_validation(source: Source, drawn: Draw, count: int) -> tuple[Problem, ...]:
    """Takes the problems of the transfer split that follow those of a draw.

    Args:
        source: The source of the draw.
        drawn: The training and test problems; none of them may be a validation problem.
        count: Number of validation problems.

    Raises:
        KdprobeError: The source has fewer, a question occurs twice, or one is also a transfer or test problem.
    """
    start = len(drawn.transfer)
    problems = tuple(islice(source("transfer"), start + count))
    if len(problems) < start + count:
        raise KdprobeError(
            f"The problem source has only {counted(len(problems), 'transfer problem')}, but {start} for training and "
            f"{count} for validation were requested.",
            "Lower tune.validation or problems.transfer in the config.",
        )
    if problems[:start] != drawn.transfer:
        raise KdprobeError(
            "The problem source returned different problems on the second call.", "This is a bug in its plugin."
        )
    refuse_twins(problems, "transfer")
    validation = problems[start:]
    if twins := _shared(validation, drawn.test):
        raise KdprobeError(
            f"Validation problem {twins[0].id} is also test problem {twins[1].id}.",
            "Remove one of them; testing on problems that were used to choose options is biased.",
        )
    return validation


def normalised(question: str) -> str:
    """A question with case, punctuation and spacing removed, for comparing questions."""
    return re.sub(r"\W+", " ", question.lower()).strip()


def _take(source: Source, split: Split, count: int) -> tuple[Problem, ...]:
    problems = tuple(islice(source(split), count))
    if len(problems) < count:
        requested = f"{count} {'was' if count == 1 else 'were'} requested"
        raise KdprobeError(
            f"The problem source has only {counted(len(problems), f'{split} problem')}, but {requested}.",
            f"Lower problems.{split} in the config.",
        )
    refuse_twins(problems, split)
    return problems


def _shared(problems: Iterable[Problem], others: Iterable[Problem]) -> tuple[Problem, Problem] | None:
    """The first pair of problems, one from each, that ask the same question."""
    by_question = {normalised(problem.question): problem for problem in others}
    for problem in problems:
        if twin := by_question.get(normalised(problem.question)):
            return problem, twin
    return None


def first_problems(source: Source, limit: int | None) -> tuple[Problem, ...]:
    """The first test problems of a source, as many as there are.

    Args:
        source: The source.
        limit: Maximum number of problems; `None` for all.

    Raises:
        KdprobeError: There are none, or two ask the same question.
    """
    problems = tuple(islice(source("test"), limit))
    if not problems:
        raise KdprobeError("The problem source has no test problems.", "Choose another with --problems.")
    refuse_twins(problems, "test")
    return problems


def refuse_twins(problems: Iterable[Problem], split: Split) -> None:
    """Rejects duplicate questions and ids.

    Raises:
        KdprobeError: A question or an id occurs twice.
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
            raise KdprobeError(f"The {split} problems contain the id {problem.id!r} twice.", "Ids must be unique.")
        ids.add(problem.id)
