"""What a strategy renders: the same problem as the teacher reads it, and as the student reads it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kdprobe.problems.problem import Problem

Message = dict[str, str]
"""A chat message: `{"role": "system" | "user" | "assistant", "content": …}`."""


@dataclass(frozen=True)
class PromptPair:
    """One problem as two conversations.

    Attributes:
        teacher: What the teacher reads: the question, primed.
        student: What the student reads, in training and in the test: by default the bare question.
    """

    teacher: list[Message]
    student: list[Message]


Strategy = Callable[[Problem], PromptPair]
"""What renders a problem; pure and deterministic, for it is called again on every plan."""


def bare(problem: Problem) -> list[Message]:
    """The bare question as the only user turn: the student's side of every built-in strategy, and the test's."""
    return [{"role": "user", "content": problem.question}]
