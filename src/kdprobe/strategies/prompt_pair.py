"""The output of a strategy: one problem as the teacher reads it, and as the student reads it."""

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
        teacher: The teacher's prompt: the primed question.
        student: The student's prompt, in training and evaluation: by default the bare question.
    """

    teacher: list[Message]
    student: list[Message]


Strategy = Callable[[Problem], PromptPair]
"""A function that renders a problem; it must be pure and deterministic, because every plan calls it again."""


def bare(problem: Problem) -> list[Message]:
    """Returns the bare question as the only turn: the student's prompt in every built-in strategy and in evaluation."""
    return [{"role": "user", "content": problem.question}]
