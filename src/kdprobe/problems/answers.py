r"""Extracts the final value of an answer, and compares it with the gold value.

The rule is `robust`. It takes the first of these that the answer has: the last `\boxed{…}`, the last `#### …`, the last
"answer is …", the last number. The package `kdprobe.problems.reading` reads each of these, in time linear in the length
of the text.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass
from fractions import Fraction

from kdprobe.models.thinking import without_thinking
from kdprobe.problems.gold import gold_value
from kdprobe.problems.reading.citations import without_citations
from kdprobe.problems.reading.final_value import final_value
from kdprobe.problems.reading.numbers import with_plain_digits
from kdprobe.problems.reading.run_on import run_on


@dataclass(frozen=True)
class Extraction:
    """The value of an answer, and how it was found.

    Attributes:
        value: The exact value, or `None` if the text has none that the rule can read safely.
        rule: The rule that applied, or `none`. Here `boxed`, `hashes`, `answer-is`, `conclusion`, `opening` or
            `last-number`.
        where: Start and end of the value in the text, or `None`.
        written: The value as written there, or `None`.
    """

    value: Fraction | None
    rule: str
    where: tuple[int, int] | None = None
    written: str | None = None


def extract(text: str) -> Extraction:
    """Extracts the final value of an answer.

    Args:
        text: The student's answer; only text after the thinking is read.

    Returns:
        The extraction; its value is `None` if the text has no number that is safe to read.
    """
    plain = without_citations(with_plain_digits(without_thinking(text)))
    found = final_value(plain[: run_on(plain)])
    if found is None:
        return Extraction(None, "none")
    rule, number = found
    return Extraction(number.value, rule, (number.start, number.end), text[number.start : number.end])


def matches(extraction: Extraction, value: str) -> bool:
    """Whether an extraction gives the gold value, compared exactly as numbers."""
    gold = gold_value(value)
    return gold is not None and extraction.value == gold


def last_match(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    """The last match of a pattern, or `None`."""
    last = deque(pattern.finditer(text), maxlen=1)
    return last[0] if last else None
