"""Whether an answer is right: decided here, for the lm-eval task, for progress, for records and for comparisons."""

from __future__ import annotations

from dataclasses import dataclass

from kdprobe.models.thinking import split_thinking
from kdprobe.problems.answers import Extraction
from kdprobe.problems.extractors import Extractor, Robust

ROBUST = Robust()
"""The extractor that decides where no other is named."""
UNCLOSED = "unclosed-thinking"
"""The rule where a model never ended its thinking, so that there is nothing to read."""


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

    No extractor reads what a model thought before its answer. Thinking that never ended has no answer.

    Args:
        response: What a student wrote, its thinking between marks as `kdprobe.models.thinking` knows them.
        gold: The gold value, as the data have it written.
        extractor: What reads and compares.
    """
    written = split_thinking(response)
    if not written.closed:
        return Judged(Extraction(None, UNCLOSED), right=False)
    extraction = extractor.extract(written.answer)
    return Judged(extraction, extractor.is_right(extraction, gold))
