r"""Reading the final value out of an answer, and comparing it with the gold value.

The rule is `robust`: the last `\boxed{…}`, else the last `#### …`, else the last "answer is …", else the last number.
Every pattern is linear in the length of the text: bounded repeats, no nested quantifiers.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass
from fractions import Fraction

# A sign, a currency mark, digits with thousands separators, decimals, a denominator. Bounded, so that a megabyte of
# digits costs linear time; no answer to a word problem has 40 digits.
_NUMBER = re.compile(
    r"(?P<sign>[-\u2212\u2013]\s?)?[$€£]?\s?(?P<sign2>-)?"
    r"(?P<number>\d{1,40}(?:,\d{3}){0,12}(?:\.\d{1,40})?|\.\d{1,40})"
    r"(?:\s?/\s?(?P<denominator>\d{1,40})(?![\d.]))?"
)
_LATEX_FRACTION = re.compile(r"\\[dt]?frac\s?\{(\d{1,40})\}\s?\{(\d{1,40})\}")
_MARKS = (
    ("boxed", re.compile(r"\\boxed\s?\{")),
    ("hashes", re.compile(r"####")),
    ("answer-is", re.compile(r"answer\s{0,3}(?:is|:|=)", re.IGNORECASE)),
)
_WINDOW = 200


@dataclass(frozen=True)
class Extraction:
    """The value an answer gives, and how it was found.

    Attributes:
        value: The exact value, or `None` when the text holds none that the rule can read.
        rule: Which rule fired; `none` when none did. Here `boxed`, `hashes`, `answer-is` or `last-number`.
        where: Start and end of what it read in the text, or `None`.
        written: What stands there, or `None`.
    """

    value: Fraction | None
    rule: str
    where: tuple[int, int] | None = None
    written: str | None = None


def extract(text: str) -> Extraction:
    """Reads the final value out of an answer.

    Args:
        text: What a student wrote.

    Returns:
        The extraction; its value is `None` when the text holds no number at all.
    """
    plain = _without_latex_fractions(text)
    for rule, mark in _MARKS:
        last = last_match(mark, plain)
        if last is None:
            continue
        line_end = plain.find("\n", last.end(), last.end() + _WINDOW)
        stop = last.end() + _WINDOW if line_end < 0 else line_end
        if number := _NUMBER.search(plain, last.end(), stop):
            return _read(number, rule)
    number = last_match(_NUMBER, plain)
    return _read(number, "last-number") if number else Extraction(None, "none")


def gold_value(value: str) -> Fraction | None:
    """The exact value of a gold answer such as `1,200`, `-3`, `0.5` or `3/4`; `None` where it is no number."""
    match = _NUMBER.search(_without_latex_fractions(value))
    return _value(match) if match else None


def matches(extraction: Extraction, value: str) -> bool:
    """Whether an extraction gives the gold value, compared exactly as numbers."""
    gold = gold_value(value)
    return gold is not None and extraction.value == gold


def _read(number: re.Match[str], rule: str) -> Extraction:
    return Extraction(_value(number), rule, number.span(), number[0])


def last_match(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    """The last match of a pattern, or `None`."""
    found = deque(pattern.finditer(text), maxlen=1)
    return found[0] if found else None


def _value(match: re.Match[str]) -> Fraction | None:
    number = Fraction(match["number"].replace(",", ""))
    if match["denominator"]:
        denominator = Fraction(match["denominator"])
        if denominator == 0:
            return None
        number /= denominator
    return -number if _is_negative(match) else number


def _is_negative(match: re.Match[str]) -> bool:
    if match["sign2"]:
        return True
    if not match["sign"]:
        return False
    # "20 - 5" and "20-5" subtract: a minus with an operand on its left is no sign.
    before = match.string[: match.start()].rstrip(" ")[-1:]
    return not (before.isalnum() or before in {")", "%"})


def _without_latex_fractions(text: str) -> str:
    r"""Text of the same length with `\frac{3}{4}` as `3/4` and spaces, so that places stay what they are."""
    return _LATEX_FRACTION.sub(lambda found: f"{found[1]}/{found[2]}".ljust(len(found[0])), text)
