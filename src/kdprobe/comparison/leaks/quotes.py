"""Runs of words that students can only have from their teacher's priming.

A quote is a run of four words of the priming: what the teacher read and the student did not. Case, punctuation and
hidden characters do not matter. Runs that occur in the question do not count.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from kdprobe.comparison.leaks.plain_words import words

LENGTH = 4
"""Words of a quote. Shorter runs occur in ordinary answers by chance."""
Gram = tuple[str, ...]


class Reading:
    """What a teacher and its student read of one problem.

    Attributes:
        primed: The words of the teacher's messages, in parts: what stands before and after a text that the student
            also reads.
        known: The runs of words of what the student reads, the question and the gold solution.
    """

    def __init__(self, primed: Sequence[str], known: Sequence[str]) -> None:
        """Keeps both as words."""
        read = sorted((words(text) for text in known), key=len, reverse=True)
        self.primed = [part for text in primed for part in _parts(words(text), [text for text in read if text])]
        self.known = {gram for text in read for gram in grams(text)}


def _parts(text: Sequence[str], known: Sequence[Sequence[str]]) -> list[list[str]]:
    """What is left of a text without the known ones in it, so that no run of words crosses their borders."""
    parts = [f" {' '.join(text)} "]
    for one in known:
        parts = [rest for part in parts for rest in part.split(f" {' '.join(one)} ")]
    return [part.split() for part in parts]


def grams(text: Sequence[str]) -> list[Gram]:
    """All runs of `LENGTH` words, in order."""
    return list(zip(*(text[start:] for start in range(LENGTH)), strict=False))


def priming_passages(readings: Iterable[Reading]) -> list[str]:
    """The passages, as words, that the teacher read for several problems and the student for none of them.

    With one problem only, those of this problem. Passages repeat nothing that an earlier one contains.
    """
    known = list(readings)
    counts = Counter(gram for reading in known for gram in _own(reading))
    least = min(2, len(known))
    passages: list[str] = []
    covered: set[Gram] = set()
    for reading in known:
        for text in reading.primed:
            for start, end in _runs([counts[g] >= least and g not in reading.known for g in grams(text)]):
                run = text[start : end + LENGTH - 1]
                if not covered.issuperset(grams(run)):
                    covered.update(grams(run))
                    passages.append(" ".join(run))
    return passages


def _own(reading: Reading) -> set[Gram]:
    return {gram for text in reading.primed for gram in grams(text)} - reading.known


def _runs(flags: Sequence[bool] | NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Start and end of each run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], np.asarray(flags, dtype=int), [0]])))
    return [(int(start), int(end)) for start, end in edges.reshape(-1, 2)]


class Quotes:
    """The runs of words of one strategy's priming.

    Attributes:
        grams: Each with its index.
    """

    def __init__(self, passages: Iterable[str]) -> None:
        """Splits passages into runs of words; passages shorter than a run have none."""
        found = dict.fromkeys(gram for passage in passages for gram in grams(words(passage)))
        self.grams = {gram: index for index, gram in enumerate(found)}

    def occurrences(self, answers: Sequence[Sequence[str]], questions: Sequence[Sequence[str]]) -> NDArray[np.bool_]:
        """Which runs each answer contains and its question does not: `[answer, gram]`.

        Args:
            answers: The words of each answer.
            questions: The words of each question; empty where it is unknown.
        """
        held = np.zeros((len(answers), len(self.grams)), dtype=bool)
        for row, (answer, question) in enumerate(zip(answers, questions, strict=True)):
            found = [self.grams[gram] for gram in grams(answer) if gram in self.grams]
            if found:
                held[row, found] = True
                held[row, [self.grams[gram] for gram in grams(question) if gram in self.grams]] = False
        return held

    def longest(self, held: NDArray[np.bool_]) -> str:
        """The longest passage that overlapping runs among those that an answer contains `[gram]` make, as text."""
        kept = list(self.grams)
        best = max(_runs(held), key=lambda run: run[1] - run[0])
        joined = list(kept[best[0]])
        for before, gram in pairwise(kept[best[0] : best[1]]):
            joined += gram[-1:] if before[1:] == gram[:-1] else gram
        return " ".join(joined)
