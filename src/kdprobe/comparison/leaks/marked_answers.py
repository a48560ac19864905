"""Answers with the phrases and the words that the leak audit looks at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from kdprobe.comparison.answers import Outputs
from kdprobe.comparison.leaks.phrases import Found, Kind, find_phrases
from kdprobe.comparison.leaks.plain_words import words
from kdprobe.comparison.leaks.quotes import Quotes
from kdprobe.console import progress
from kdprobe.models.thinking import split_thinking

PHRASES: tuple[Kind, ...] = ("hedging", "self-correction", "hint")
"""The kinds that are found without knowing the priming."""
_NOTHING: dict[Kind, Found] = {}


@dataclass(frozen=True, eq=False)
class MarkedAnswers:
    """A model's answers, and the phrases found in them.

    Attributes:
        answers: The answers without thinking.
        questions: The question of each; empty where unknown.
        found: The phrases in each answer.
    """

    answers: list[str]
    questions: Sequence[str]
    found: list[dict[Kind, Found]]

    def shows(self, kind: Kind) -> NDArray[np.bool_]:
        """Whether each answer shows a kind of phrase, `[n]`."""
        return np.array([kind in phrases for phrases in self.found], dtype=bool)

    def quotes(self, quotes: Quotes) -> NDArray[np.bool_]:
        """Which runs of words of the priming each answer contains, `[n, gram]`."""
        return quotes.occurrences(self._words, self._asked)

    @property
    def mean_words(self) -> float:
        """The mean length in words, as separated by spaces."""
        return float(np.mean([len(answer.split()) for answer in self.answers]))

    @cached_property
    def _words(self) -> list[list[str]]:
        return [words(answer) for answer in self.answers]

    @cached_property
    def _asked(self) -> list[list[str]]:
        return [words(question) for question in self.questions]


def mark(responses: Sequence[str], questions: Sequence[str] | None, source: str) -> MarkedAnswers:
    """Looks for phrases in responses; thinking is not searched.

    Args:
        responses: The texts, with thinking marked.
        questions: The question of each, or `None`.
        source: Their name in the progress.
    """
    asked = [""] * len(responses) if questions is None else questions
    answers = [split_thinking(response).answer for response in responses]
    with progress(f"Phrases in {source}", len(answers), brief=True) as bar:
        pairs = bar.over(list(zip(answers, asked, strict=True)))
        # Most answers contain none, and a dict for each of a million would take memory.
        found = [find_phrases(*pair) or _NOTHING for pair in pairs]
    return MarkedAnswers(answers, asked, found)


def mark_outputs(outputs: Outputs) -> MarkedAnswers | None:
    """Looks for phrases in a model's answers; `None` if only their scores are known."""
    if outputs.metric and outputs.columns.get("response") is None:
        return None
    return mark(outputs.responses, outputs.questions, outputs.file)
