"""Numbers in words (twenty-five), if a statement of the answer begins with one."""

from __future__ import annotations

import re
from fractions import Fraction

from kdprobe.problems.reading.numbers import Number

_UNITS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_TEN, _HUNDRED = 10, 100
_SMALL = {word: value for value, word in enumerate(_UNITS)} | {word: _TEN * n for n, word in enumerate(_TENS, start=2)}
_LARGE = {"thousand": 1_000, "million": 10**6, "billion": 10**9}
_WORD = rf"(?:{'|'.join((*_SMALL, 'hundred', *_LARGE))})"
_WORDS = re.compile(
    rf"(?P<sign>(?:negative|minus)[ ])?(?P<words>(?:an?[ ](?=hundred|thousand|million|billion))?"
    rf"{_WORD}\b(?:(?:[ -]|,[ ]|[ ,-]and[ ]){_WORD}\b){{0,11}}+)"
    r"(?![ -](?:(?:and[ ])?(?:an?[ ]|one[ -])?(?:hal(?:f|ves)|thirds?|quarters?"
    r"|(?:four|fif|six|seven|eigh|nin|ten)ths?)"
    r"|point|dozens?|of|by|to|or|and|times|plus|minus|step|more[ ]step)\b)",
    re.IGNORECASE,
)
_ALONE = re.compile(r"[ ]{0,4}(?:[.!,;)\]}*$\"'\n]|$)|[ ](?:dollars?|hours?|minutes?|days?)\b", re.IGNORECASE)


def number_in_words(text: str, start: int, stop: int) -> Number | None:
    """The number in words that begins here; `None` if there is none, or if it need not be a number, as in "one of"."""
    match = _WORDS.match(text, start, stop)
    if match is None:
        return None
    words = re.findall(r"[a-z]+", match["words"].lower())
    if words == ["one"] and not _ALONE.match(text, match.end()):
        return None
    value = _value([word for word in words if word not in {"and", "a", "an"}])
    return None if value is None else Number(Fraction(-value if match["sign"] else value), match.start(), match.end())


def _value(words: list[str]) -> int | None:
    """The value of a sequence of words; `None` if they do not form a number, as in "five five"."""
    total, below, last = 0, 0, 10**12
    for word in words:
        if word in _LARGE:
            if _LARGE[word] >= last:
                return None
            last = _LARGE[word]
            total, below = total + max(below, 1) * last, 0
        elif word == "hundred":
            if below >= _HUNDRED:
                return None
            below = max(below, 1) * _HUNDRED
        else:
            value, digits = _SMALL[word], below % _HUNDRED
            is_digit = 0 < value < _TEN
            if below and (not value or (digits and (digits % _TEN or not is_digit))):
                return None
            below += value
    return total + below
