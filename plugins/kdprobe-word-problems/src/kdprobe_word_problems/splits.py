"""Assigns questions to splits if a collection has none, independently of their order and number."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from kdprobe import Problem
from kdprobe.problems import Split, normalised

_SHARES: dict[Split, range] = {"teacher": range(2), "transfer": range(2, 7), "test": range(7, 10)}
"""In tenths of all questions."""


def split_of(question: str) -> Split:
    """Returns the split of a question, by its digest; case, punctuation and spacing are ignored."""
    tenth = int.from_bytes(hashlib.sha256(normalised(question).encode()).digest()[:4]) % 10
    return next(split for split, tenths in _SHARES.items() if tenth in tenths)


def once(problems: Iterator[Problem]) -> Iterator[Problem]:
    """Yields the first problem with each question: collections repeat some, and no problem should count twice."""
    seen: set[str] = set()
    for problem in problems:
        question = normalised(problem.question)
        if question not in seen:
            seen.add(question)
            yield problem
