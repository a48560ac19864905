"""Finds test problems that were used in training: verbatim, or with different spelling or numbers.

Problems from one template share most of their words by design. Such overlap is not a fault but limits what a test can
show, and is marked as such.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from kdprobe.problems.draw import normalised
from kdprobe.problems.problem import Problem

WORDS = 8
"""Length of the word n-grams."""
SHARE = 0.5
"""Share of a test question's n-grams in one transfer question that counts as overlap."""
_NUMBER = re.compile(r"\b\d[\d ]*\b")


@dataclass(frozen=True)
class Overlap:
    """A test problem and the transfer problem that is most similar to it.

    Attributes:
        test: Id of the test problem.
        transfer: Id of the transfer problem.
        kind: `exact`: the same text; `normalised`: the same except for case, punctuation and spacing; `n-gram`: at
            least `SHARE` of its word n-grams, with numbers masked, occur in the other.
        share: Share of the test question's n-grams that occur in the other.
        within_group: Whether both come from the same template or family.
    """

    test: str
    transfer: str
    kind: Literal["exact", "normalised", "n-gram"]
    share: float
    within_group: bool


def overlaps(transfer: Sequence[Problem], test: Sequence[Problem]) -> list[Overlap]:
    """Test problems that overlap with a transfer problem, each with the most similar one, in order.

    A question shorter than an n-gram counts as one n-gram. Time and memory grow with the number of words.

    Args:
        transfer: The problems that students learn from.
        test: The problems that they are tested on.
    """
    holders: dict[str, set[int]] = defaultdict(set)
    for index, problem in enumerate(transfer):
        for gram in _grams(problem.question):
            holders[gram].add(index)
    overlapping = []
    for problem in test:
        grams = _grams(problem.question)
        shared = Counter(index for gram in grams for index in holders.get(gram, ()))
        candidates = [
            Overlap(problem.id, twin.id, _kind(problem, twin), count / len(grams), _same_group(problem, twin))
            for index, count in shared.items()
            if count / len(grams) >= SHARE
            for twin in [transfer[index]]
        ]
        if candidates:
            # A twin from another template is stronger evidence than one from the same template.
            overlapping.append(
                min(candidates, key=lambda overlap: (overlap.within_group, _KINDS.index(overlap.kind), -overlap.share))
            )
    return overlapping


_KINDS = ["exact", "normalised", "n-gram"]


def _kind(a: Problem, b: Problem) -> Literal["exact", "normalised", "n-gram"]:
    if a.question == b.question:
        return "exact"
    return "normalised" if normalised(a.question) == normalised(b.question) else "n-gram"


def _same_group(a: Problem, b: Problem) -> bool:
    return a.group is not None and a.group == b.group


def _grams(question: str) -> set[str]:
    words = _NUMBER.sub("#", normalised(question)).split()
    return {" ".join(words[start : start + WORDS]) for start in range(max(1, len(words) - WORDS + 1))}
