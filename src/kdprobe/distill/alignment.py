"""Checks that training examples are aligned: positions with labels, and both with the teacher's rows.

It inspects the actual training examples, so that it detects what a distiller does instead of trusting it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kdprobe.distill.examples import Example


@dataclass(frozen=True)
class Alignment:
    """Shares of the trained positions; each is 1 in a sound distillation.

    Attributes:
        positions: The number of trained positions.
        own_next_token: Positions whose label is the next token of the student's input.
        own_problem: Positions whose teacher row was produced for the same problem; `None` without a teacher.
        same_token: Positions whose teacher row predicts the label; `None` without a teacher.
    """

    positions: int
    own_next_token: float
    own_problem: float | None
    same_token: float | None


def alignment(examples: Sequence[Example]) -> Alignment:
    """Computes the shares over all trained positions of the examples."""
    positions = sum(len(example.positions) for example in examples)
    own_next = sum(
        position + 1 < len(example.input_ids) and example.input_ids[position + 1] == label
        for example in examples
        for position, label in zip(example.positions, example.labels, strict=True)
    )
    taught = [(example, example.lesson) for example in examples if example.lesson is not None]
    rows = sum(len(example.labels) for example, _ in taught)
    same_problem = sum(len(example.labels) for example, lesson in taught if lesson.problem == example.problem)
    same_token = sum(
        follower == label
        for example, lesson in taught
        for follower, label in zip(lesson.followers, example.labels, strict=True)
    )
    return Alignment(
        positions=positions,
        own_next_token=own_next / positions,
        own_problem=same_problem / rows if rows else None,
        same_token=same_token / rows if rows else None,
    )
