"""Test problems that were trained on: word for word, but for spelling, or but for their numbers.

Problems that come from one template share most of their words by design. Such overlap is the scope of what a test can
show, not a fault, and is told apart.
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
"""Of a test question's n-grams within one transfer question."""
_NUMBER = re.compile(r"\b\d[\d ]*\b")


@dataclass(frozen=True)
class Overlap:
    """A test problem and the transfer problem that is most like it.

    Attributes:
        test: Id of the test problem.
        transfer: Id of the transfer problem.
        kind: `exact`: the same text; `normalised`: the same but for case, punctuation and spacing; `n-gram`: at least
            `SHARE` of its word n-grams, numbers masked, are in the other.
        share: Of the test question's n-grams.
        within_group: Whether both come from one template or family.
    """

    test: str
    transfer: str
    kind: Literal["exact", "normalised", "n-gram"]
    share: float
    within_group: bool


def overlaps(transfer: Sequence[Problem], test: Sequence[Problem]) -> list[Overlap]:
    """Test problems that overlap with a transfer problem, each with the one that is most like it, in order.

    A question shorter than an n-gram is one n-gram by itself. Time and memory grow with the words of all questions.

    Args:
        transfer: What students learnt from.
        test: What they are tested on.
    """
    holders: dict[str, set[int]] = defaultdict(set)
    for place, problem in enumerate(transfer):
        for gram in _grams(problem.question):
            holders[gram].add(place)
    found = []
    for problem in test:
        grams = _grams(problem.question)
        shared = Counter(place for gram in grams for place in holders.get(gram, ()))
        likest = [
            Overlap(problem.id, twin.id, _kind(problem, twin), count / len(grams), _one_group(problem, twin))
            for place, count in shared.items()
            if count / len(grams) >= SHARE
            for twin in [transfer[place]]
        ]
        if likest:
            # A twin from elsewhere says more than one of the same template.
            found.append(min(likest, key=lambda o: (o.within_group, _KINDS.index(o.kind), -o.share)))
    return found


_KINDS = ["exact", "normalised", "n-gram"]


def _kind(a: Problem, b: Problem) -> Literal["exact", "normalised", "n-gram"]:
    if a.question == b.question:
        return "exact"
    return "normalised" if normalised(a.question) == normalised(b.question) else "n-gram"


def _one_group(a: Problem, b: Problem) -> bool:
    return a.group is not None and a.group == b.group


def _grams(question: str) -> set[str]:
    words = _NUMBER.sub("#", normalised(question)).split()
    return {" ".join(words[place : place + WORDS]) for place in range(max(1, len(words) - WORDS + 1))}
