r"""The grammar of numbers in running text and in LaTeX, for both answers and gold values.

A number is read completely or not at all. Text that looks like a number but has no certain value, such as `1,5`,
`10:30`, `2x` or `3/0`, is found and has the value `None`, so that no part of it is read as a number.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from kdprobe.problems.reading.grammar import ARGUMENT, NUMBER, SPACES

_MAGNITUDES = {
    "hundred": 100, "thousand": 1_000, "lakh": 10**5, "million": 10**6, "crore": 10**7, "billion": 10**9,
    "trillion": 10**12, "k": 1_000, "m": 10**6, "mn": 10**6, "mm": 10**6, "b": 10**9, "bn": 10**9,
}  # fmt: skip
_COMMAS = rf",(?:\\!)?|\{{,\}}|\\[,;:! ]|[ ~{SPACES}'\u2019_]"
_FORMS = tuple(
    re.compile(form)
    for form in (
        r"(?P<whole>\d{1,40})(?:\.(?P<part>\d{1,60}))?",
        r"(?P<whole>)\.(?P<part>\d{1,60})",
        # 1,200 and 1 200 and 1'200
        rf"(?P<whole>[1-9]\d{{0,2}}(?P<comma>{_COMMAS})\d{{3}}(?:(?P=comma)\d{{3}}){{0,11}})(?:\.(?P<part>\d{{1,60}}))?",
        # 12,34,567
        r"(?P<whole>[1-9]\d?(?:,\d{2}){1,9},\d{3})(?:\.(?P<part>\d{1,60}))?",
        # 1.234.567 and 1.200,50 and 1 200,50; 1.200 alone is 1.2
        r"(?P<whole>[1-9]\d{0,2}(?:\.\d{3}){2,9})(?:,(?P<part>\d{1,60}))?",
        rf"(?P<whole>[1-9]\d{{0,2}}(?:[.{SPACES} ]\d{{3}}){{1,9}}),(?P<part>\d{{1,2}})",
    )
)
_ARGUMENTS = re.compile(ARGUMENT, re.IGNORECASE)
_MOST_POWER, _MOST_DIGITS = 60, 40
_LARGEST_VULGAR = 10
"""The largest denominator of a fraction that is a single character."""
_ASCII = {0xFF01 + offset: 0x21 + offset for offset in range(94)} | dict.fromkeys((0x2010, 0x2011, 0x2012, 0xFE63), "-")
_ASCII |= {0x066B: ".", 0x066C: ",", 0x3002: "."}
_SAYS_WHAT_FOLLOWS = re.compile(r"(?:^|[^\w\s)%]|\b(?:is|are|was|be|equals|to|of|a|get))\s?$", re.IGNORECASE)
_OTHER_DIGIT = re.compile(r"(?![0-9])\d")
_RAISED_DIGITS = str.maketrans("\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079\u207b", "0123456789-")


@dataclass(frozen=True)
class Number:
    """A number in a text.

    Attributes:
        value: Its exact value, or `None` if that is uncertain.
        start: Start in the text, including its sign and currency.
        end: End in the text.
    """

    value: Fraction | None
    start: int
    end: int


def with_plain_digits(text: str) -> str:
    """The text with digits and punctuation of other scripts as ASCII; positions do not change."""
    if text.isascii():
        return text
    return _OTHER_DIGIT.sub(lambda digit: str(unicodedata.digit(digit[0])), text.translate(_ASCII))


def numbers_in(text: str, start: int = 0, stop: int | None = None) -> Iterator[Number]:
    """The numbers of a text with plain digits, in order."""
    for match in NUMBER.finditer(text, start, len(text) if stop is None else stop):
        yield _number(match)


def numbers_from_last(text: str, stop: int) -> Iterator[Number]:
    """The numbers of a text with plain digits, the last one before `stop` first."""
    return map(_number, reversed(list(NUMBER.finditer(text, 0, stop))))


def first_number(text: str, start: int = 0, stop: int | None = None) -> Number | None:
    """The first number of a text with plain digits, or `None`."""
    return next(numbers_in(text, start, stop), None)


def _number(match: re.Match[str]) -> Number:
    negative = _is_negative(match)
    start = match.start() if negative or match["sign"] is None else match.end("sign")
    start += len(match.string[start : match.end()]) - len(match.string[start : match.end()].lstrip())
    try:
        value = _value(match)
    except (ZeroDivisionError, OverflowError):
        value = None
    return Number(-value if negative and value is not None else value, start, match.end())


def _value(match: re.Match[str]) -> Fraction | None:
    """The value without its sign.

    Raises:
        ZeroDivisionError: The denominator is zero.
    """
    repeats = match["ellipsis"] and "." in (match["run"] or "")
    if match["rest"] or match["other"] or match["either"] or repeats:
        return None
    if match["alone"]:
        return _fraction(match["alone"])
    value = _run_value(match["run"])
    if value is None or (" " in match["run"].replace("\\ ", "") and not match["currency"]):
        return None  # "1 200" may be two numbers, "$1 200" is one.
    if match["denominator"]:
        denominator = _run_value(match["denominator"])
        value = None if denominator is None else value / denominator
    elif match["power"] or match["exponent"] or match["tens"]:
        base, written = (
            (value, match["power"]) if match["power"] else (Fraction(10), match["exponent"] or match["tens"])
        )
        raised = _power(base, int(re.sub(r"[^-\d]", "", written.translate(_RAISED_DIGITS).replace("\u2212", "-"))))
        value = raised if match["power"] or raised is None else value * raised
    elif part := _part(match):
        value = value + part if 0 < part < 1 and value.denominator == 1 else None
    magnitude = (match["magnitude"] or match["letter"] or "").lower()
    if value is None or (magnitude in {"m", "b", "bn"} and not match["currency"]):
        return None
    return value * _MAGNITUDES[magnitude] if magnitude else value


def _part(match: re.Match[str]) -> Fraction | None:
    """The fraction of a mixed number, or `None`."""
    if match["above"]:
        return Fraction(int(match["above"]), int(match["below"]))
    if match["half"]:
        return Fraction(1, 2)
    written = match["fraction"] or match["vulgar"]
    return _fraction(written) if written else None


def _fraction(written: str) -> Fraction | None:
    r"""The value of `\frac{3}{4}`, of `\frac34`, or of a fraction that is a single character."""
    if len(written) == 1:
        return Fraction(unicodedata.numeric(written)).limit_denominator(_LARGEST_VULGAR)
    above, below = (argument.strip("{} ").replace("\u2212", "-") for argument in _ARGUMENTS.findall(written))
    dividend, divisor = _run_value(above.lstrip("- ")), _run_value(below.lstrip("- "))
    if dividend is None or divisor is None:
        return None
    return dividend / divisor * (-1 if above.startswith("-") != below.startswith("-") else 1)


def _run_value(run: str) -> Fraction | None:
    """The value of digits with separators; `None` if the separators do not group digits, as in `1,5` or `10:30`."""
    if len(run) <= _MOST_DIGITS and run.isdecimal():
        return Fraction(int(run))
    form = next(filter(None, (form.fullmatch(run) for form in _FORMS)), None)
    if form is None:
        return None
    whole, part = re.sub(r"\D", "", form["whole"]), form["part"] or ""
    return None if len(whole) > _MOST_DIGITS else Fraction(int(whole + part or "0"), 10 ** len(part))


def _power(base: Fraction, exponent: int) -> Fraction | None:
    too_much = abs(exponent) > _MOST_POWER or len(str(base)) * abs(exponent) > _MOST_POWER * _MOST_DIGITS
    return None if too_much else base**exponent


def _is_negative(match: re.Match[str]) -> bool:
    if match["sign2"]:
        return True
    sign = (match["sign"] or "").lower()
    if not sign or sign.startswith("negative"):
        return bool(sign)
    before = match.string[max(0, match.start() - 8) : match.start()]
    if before.endswith("\n") and sign == "- ":
        return False  # A list.
    if sign.startswith("minus"):
        return _SAYS_WHAT_FOLLOWS.search(before) is not None
    if before.endswith((" ", "$")) and not sign.endswith(" "):
        return True
    # "20 - 5" and "20-5" subtract, "Tom - 5" has a dash: a minus after an operand or a word is not a sign.
    operand = before.rstrip(" ")[-1:]
    return not (operand.isalnum() or operand in set(")%")) or before.endswith(" is ")
