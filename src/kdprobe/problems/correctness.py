"""Whether an answer is right: decided here, for the lm-eval task, for progress, for records and for comparisons."""

from __future__ import annotations

from dataclasses import dataclass

from kdprobe.problems.answers import Extraction
from kdprobe.problems.extractors import Extractor, Robust

ROBUST = Robust()
"""The extractor that decides where no other is named."""


@dataclass(frozen=True)
class Judged:
    """One answer under one extractor.

    Attributes:
        extraction: What the extractor read.
        right: Whether it is the gold value.
    """

    extraction: Extraction
    right: bool

    @property
    def found(self) -> bool:
        """Whether a value was found."""
        return self.extraction.value is not None


def judge(response: str, gold: str, extractor: Extractor = ROBUST) -> Judged:
    """Reads an answer and compares it with the gold value.

    Args:
        response: What a student wrote.
        gold: The gold value, as the data have it written.
        extractor: What reads and compares.
    """
    extraction = extractor.extract(response)
    return Judged(extraction, extractor.is_right(extraction, gold))
