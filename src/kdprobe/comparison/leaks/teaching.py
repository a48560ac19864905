"""What the leak audit needs to know of a strategy: what its teacher read, and what it wrote."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Teaching:
    """A strategy's priming and its teacher's answers.

    Attributes:
        priming: The passages that the teacher read and the student did not.
        answers: The teacher's answers, with thinking marked as in `kdprobe.models.thinking`.
        questions: The question that each of them answers.
    """

    priming: Sequence[str]
    answers: Sequence[str] = ()
    questions: Sequence[str] = ()
