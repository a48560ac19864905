"""What a model's answers are like as texts: empty, with thinking, or running on."""

from __future__ import annotations

from typing import NamedTuple

from kdprobe.comparison.answers import Outputs
from kdprobe.console import progress
from kdprobe.models.thinking import split_thinking
from kdprobe.problems.reading.numbers import with_plain_digits
from kdprobe.problems.reading.run_on import run_on


class TextShares(NamedTuple):
    """Shares of a model's answers, or `None` if it wrote no text.

    Attributes:
        empty: Empty answers.
        thinking: Answers with thinking.
        unclosed: Answers whose thinking never ends.
        runs_on: Answers that run on into another problem.
    """

    empty: float | None = None
    thinking: float | None = None
    unclosed: float | None = None
    runs_on: float | None = None


def text_shares(outputs: Outputs) -> TextShares:
    """Reads all answers once, because no extractor changes what they are."""
    if outputs.metric and outputs.columns.get("response") is None:
        return TextShares()
    empty = thinking = unclosed = runs_on = 0
    count = len(outputs.responses)
    with progress(f"Texts of {outputs.file}", count, brief=True) as bar:
        for response in bar.over(outputs.responses):
            written = split_thinking(response)
            empty += not written.answer.strip() and written.thinking is None
            thinking += written.thinking is not None
            unclosed += not written.closed
            runs_on += run_on(with_plain_digits(written.answer)) is not None
    return TextShares(empty / count, thinking / count, unclosed / count, runs_on / count)
