"""Which split a question belongs to, where a collection has no splits of its own, whatever the order and the count."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from kdprobe import Problem
from kdprobe.problems import Split, normalised

_SHARES: dict[Split, range] = {"teacher": range(2), "transfer": range(2, 7), "test": range(7, 10)}
"""Tenths of all questions."""


def split_of(question: str) -> Split:
    """The one split that has this question, by its digest; case, punctuation and spacing do not count."""
    tenth = int.from_bytes(hashlib.sha256(normalised(question).encode()).digest()[:4]) % 10
    return next(split for split, tenths in _SHARES.items() if tenth in tenths)


def once(problems: Iterator[Problem]) -> Iterator[Problem]:
    """The first problem of each question: collections ask some twice, and a test that counts one twice lies."""
    seen: set[str] = set()
    for problem in problems:
        question = normalised(problem.question)
        if question not in seen:
            seen.add(question)
            yield problem
