"""What an experiment's teacher read and wrote under every strategy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from kdprobe.problems.problem import Problem
from kdprobe.strategies.prompt_pair import PromptPair
from kdprobe.teachers.teacher import Response, Teacher


@dataclass(frozen=True)
class Priming:
    """One strategy.

    Attributes:
        strategy: Its name in the run.
        unprimed: Whether the teacher reads the bare question for every transfer problem.
        prompts: Token ids of the prompts of the transfer problems as the teacher read them, by problem id; empty if
            they are not known.
        responses: The first answer to each transfer problem, in order, without the teacher's distributions.
        tests: The conversations that the strategy builds from test problems, by problem id.
        sees_gold: Whether the teacher's prompt for a test problem depends on its gold solution.
    """

    strategy: str
    unprimed: bool
    prompts: Mapping[str, Sequence[int]]
    responses: Sequence[Response]
    tests: Mapping[str, PromptPair] = field(default_factory=dict)
    sees_gold: bool = False


@dataclass(frozen=True)
class Teaching:
    """The teacher of an experiment, and what it did.

    Attributes:
        teacher: The teacher; `None` if the experiment's distiller trains without one.
        problems: The transfer problems.
        primings: All strategies with a transfer set; none if the distiller trains without one.
        texts: Where the responses are from: `own`, `gold`, a strategy or a file, as in `transfer.texts`.
    """

    teacher: Teacher | None
    problems: Sequence[Problem]
    primings: Sequence[Priming]
    texts: str
