"""Judges answers: the one place used by the lm-eval task, progress, records and comparisons."""

from __future__ import annotations

from dataclasses import dataclass

from kdprobe.models.thinking import split_thinking
from kdprobe.problems.answers import Extraction
from kdprobe.problems.extractors import Extractor, Robust

ROBUST = Robust()
"""The extractor used if none is named."""
UNCLOSED = "unclosed-thinking"
"""The rule if the thinking never ended, so that there is no answer to read."""


@dataclass(frozen=True)
class Judged:
    """One answer under one extractor.

    Attributes:
        extraction: The extractor's result.
        right: Whether it matches the gold value.
    """

    extraction: Extraction
    right: bool

    @property
    def found(self) -> bool:
        """Whether a value was found."""
        return self.extraction.value is not None


def judge(response: str, gold: str, extractor: Extractor = ROBUST) -> Judged:
    """Extracts the value of an answer and compares it with the gold value.

    No extractor reads the thinking before an answer. If the thinking never ended, there is no answer.

    Args:
        response: The student's text, with thinking marked as in `kdprobe.models.thinking`.
        gold: The gold value, as written in the data.
        extractor: The extractor.
    """
    written = split_thinking(response)
    if not written.closed:
        return Judged(Extraction(None, UNCLOSED), right=False)
    extraction = extractor.extract(written.answer)
    return Judged(extraction, extractor.is_right(extraction, gold))
