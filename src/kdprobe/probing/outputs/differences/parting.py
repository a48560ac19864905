"""Where two students first diverge on a text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from kdprobe.probing.outputs.differences.measured import Pair
from kdprobe.probing.outputs.differences.parts import SOLUTION

PROMPT = "prompt"
"""Everything before the solution: the question with its chat template."""


@dataclass(frozen=True)
class Parting:
    """The first token of a prompt or a solution at which two students diverge.

    Attributes:
        pair: The two.
        problem: The problem's id.
        ids: All tokens of the problem.
        within: `prompt` or `solution`.
        begin: Position of the first token of the solution.
        position: Position of the token; -1 if they never part, and the other attributes are then meaningless.
        part: The part that the token belongs to.
        student_token: Id of the student's greedy next token there.
        against_token: Id of the other's.
        js: The Jensen-Shannon divergence there, in nats.
    """

    pair: Pair
    problem: str
    ids: tuple[int, ...]
    within: str
    begin: int
    position: int = -1
    part: str = ""
    student_token: int = -1
    against_token: int = -1
    js: float = 0.0

    @property
    def parted(self) -> bool:
        """Whether they diverge at all."""
        return self.position >= 0


def partings(pair: Pair, threshold: float | None) -> Iterator[Parting]:
    """The first token of each problem's prompt, and of its solution, at which two students diverge.

    Args:
        pair: The two.
        threshold: The Jensen-Shannon divergence that must be exceeded, in nats; if `None`, the greedy next tokens
            must differ.
    """
    for text, found in zip(pair.texts, pair.differences, strict=True):
        against, student = found.greedy.T
        parted = against != student if threshold is None else found.js > threshold
        in_solution = text.within(SOLUTION)
        for within, rows in ((PROMPT, ~in_solution), (SOLUTION, in_solution)):
            same = pair, text.sequence.id, text.sequence.ids, within, text.sequence.begin
            where = np.flatnonzero(parted & rows)
            if not len(where):
                yield Parting(*same)
                continue
            row = int(where[0])
            yield Parting(
                *same,
                # The first token is not predicted.
                position=row + 1,
                part=str(text.parts[row]),
                student_token=int(student[row]),
                against_token=int(against[row]),
                js=float(found.js[row]),
            )
