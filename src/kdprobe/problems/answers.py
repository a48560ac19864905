r"""Reading the final value out of an answer, and comparing it with the gold value.

The rule is `robust`: the last `\boxed{…}`, else the last `#### …`, else the last "answer is …", else the last number.
Every pattern is linear in the length of the text: bounded repeats, no nested quantifiers.
"""

from __future__ import annotations

import re
import unicodedata
from collections import deque
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice

from kdprobe.models.thinking import without_thinking

# A sign, a currency mark, digits with thousands separators, decimals; then a denominator, or the fraction of a mixed
# number. Bounded, so that a megabyte of digits costs linear time; a run of more than 40 digits is nobody's answer.
_NUMBER = re.compile(
    r"""
    (?P<sign>[-\u2212\u2013]\s?)? (?:\\?[$€£])? \s? (?P<sign2>[-\u2212\u2013])?
    (?:
        (?P<number>
            (?<!\d)\d{1,40}+(?!\d)
            (?:(?:,(?:\\!)?|\{,\}|\\,|[\u00a0\u2009\u202f])\d{3}(?!\d)){0,12}
            (?:\.\d{1,40})?
          | (?<!\d)\.\d{1,40}
        )
        (?:
            \s?/\s?(?P<denominator>\d{1,40})(?!\d|\.\d)
          | \s(?P<above>\d{1,6})/(?P<below>\d{1,6})(?!\d|\.\d|/)
          | \s?(?P<vulgar>[\u00bc-\u00be\u2150-\u215e])
        )?
      | (?P<alone>[\u00bc-\u00be\u2150-\u215e])
    )
    """,
    re.VERBOSE,
)
_LATEX_FRACTION = re.compile(r"\\[dt]?frac\s?\{\s?(-?\d{1,40})\s?\}\s?\{\s?(\d{1,40})\s?\}")
_MARKS = (
    ("boxed", re.compile(r"\\boxed\s?\{")),
    ("hashes", re.compile(r"####")),
    ("answer-is", re.compile(r"answer\s{0,3}(?:is|:|=)", re.IGNORECASE)),
)
_WINDOW = 200
_LARGEST_VULGAR = 10
"""No character of its own has a larger denominator."""


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
        text: What a student wrote; of a thinking model only what follows its thinking is read.

    Returns:
        The extraction; its value is `None` when the text holds no number at all.
    """
    plain = _without_latex_fractions(without_thinking(text))
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
    """The exact value of a gold answer such as `1,200`, `-3`, `0.5` or `3/4`; `None` where it is not one number."""
    numbers = list(islice(_NUMBER.finditer(_without_latex_fractions(value)), 2))
    return _value(numbers[0]) if len(numbers) == 1 else None


def matches(extraction: Extraction, value: str) -> bool:
    """Whether an extraction gives the gold value, compared exactly as numbers."""
    gold = gold_value(value)
    return gold is not None and extraction.value == gold


def _read(number: re.Match[str], rule: str) -> Extraction:
    start = number.end() - len(number[0].lstrip())
    return Extraction(_value(number), rule, (start, number.end()), number[0].lstrip())


def last_match(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    """The last match of a pattern, or `None`."""
    last = deque(pattern.finditer(text), maxlen=1)
    return last[0] if last else None


def _value(match: re.Match[str]) -> Fraction | None:
    number = Fraction(re.sub(r"[^\d.]", "", match["number"])) if match["number"] else Fraction(0)
    if character := match["vulgar"] or match["alone"]:
        number += Fraction(unicodedata.numeric(character)).limit_denominator(_LARGEST_VULGAR)
    try:
        if match["denominator"]:
            number /= Fraction(match["denominator"])
        if match["below"]:
            number += Fraction(int(match["above"]), int(match["below"]))
    except ZeroDivisionError:
        return None
    return -number if _is_negative(match) else number


def _is_negative(match: re.Match[str]) -> bool:
    group = "sign2" if match["sign2"] else "sign"
    if not match[group]:
        return False
    before = match.string[: match.start(group)]
    if before.endswith((" ", "$")) and not match[group].endswith(" "):
        return True
    # "20 - 5" and "20-5" subtract, "Tom - 5" has a dash: with an operand or a word on its left a minus is no sign.
    operand = before.rstrip(" ")[-1:]
    return not (operand.isalnum() or operand in {")", "%"}) or before.endswith(" is ")


def _without_latex_fractions(text: str) -> str:
    r"""Text of the same length with `\frac{3}{4}` as ` 3/4` and spaces, so that positions do not shift."""
    return _LATEX_FRACTION.sub(lambda match: f" {match[1]}/{match[2]}".ljust(len(match[0])), text)
