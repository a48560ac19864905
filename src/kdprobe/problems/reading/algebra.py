r"""Recognises algebra, in which a number is only a part: `6 - 5i`, `x \ge 3`, `\ln 2` and `(5, \infty)`."""

from __future__ import annotations

import re

from kdprobe.problems.reading.grammar import PRODUCT
from kdprobe.problems.reading.numbers import Number
from kdprobe.problems.reading.ranges import PROSE, RELATION

_FUNCTION = (
    r"\\(?:ln|log|sin|cos|tan|cot|sec|csc|arc\w{3}|exp|binom|begin|choose|over|cup|cap|infty|pm|mp|lceil|lfloor)"
    r"(?![A-Za-z])"
)
_VARIABLE = r"(?:\d[\d.]{0,20}[ ]?[a-fijn-rt-z](?![A-Za-z.])|[b-fijn-rt-z](?![A-Za-z.'])|\\(?:pi|sqrt)|[\u03c0\u221a])"
"""A variable, or a term with one; letters that are often units, and "a", count only behind a digit."""
_UNITS = (
    "mm|cm|dm|km|mi|in|ft|yd|mg|kg|lbs?|oz|ml|cl|dl|fl|gal|qt|pt|cc|ha|sq|ac|hrs?|min|mins|secs?|ms|am|pm|mph|kph|rpm|bpm|kwh?|hp|hz"
    "|[kmg]hz|[kmgt]b|[kmg]w|[kmg]v|mv|ma|psi|cal|st|nd|rd|th|pcs?|pk|pks|ct|ea|dz|px|pts|wks?|mos?|yrs?|usd|eur|gbp|cad|aud|inr"
    "|rs|kr|zl|chf|bc|ad|ce|bce|deg|and|or|per|of|for|to|is|day|egg|men|boy|cup|bag|box|pie|car|dog|cat|pen|hat|ice|way|pop|mil"
)
"""Up to three letters right behind a number that are no product of variables."""
_TERM = re.compile(
    rf"\d(?!(?:{_UNITS})(?![A-Za-z]))(?:(?-i:[a-z]{{2,3}}|[A-Z]{{2}})|(?-i:[ADP]|E(?![-+]?\d)))(?![A-Za-z.])"
    rf"|\d[ ]{{1,2}}{PRODUCT}",
    re.IGNORECASE,
)
"""A coefficient with variables, as a box may hold."""
_SUMMAND = re.compile(
    r"(?<![\w'\\])(?:\d{0,20}[b-fj-np-z][ ]?\+|\d{0,20}[kmnxyz](?:\^\d)?[ ]?[-+*/])[ ]?\Z", re.IGNORECASE
)
"""A variable and an operator, right before a number."""
_BEFORE = re.compile(
    rf"(?:{RELATION}|\\infty[ ]?,|\\(?:ln|log|sin|cos|tan)(?:_\{{?\d{{1,3}}\}}?)?|\bmod"
    r"|\b(?:half|thirds?|quarters?|double|twice|triple|thrice)(?:[ ]of)?(?:[ ]the)?)[\s($\\]{0,3}\Z",
    re.IGNORECASE,
)
_AFTER = re.compile(
    rf"[ ]?(?:[-+*\u00b7]|\\cdot|\\times)[ ]?{_VARIABLE}|[ ][ixy](?=[\s}}]{{0,9}}(?:\Z|[-+]))|[ ]?,[ ]?[-+]?\\infty"
    rf"|[ ]?{PRODUCT}|\([ ]?\d{{0,4}}(?-i:[a-z])[ ]?[-+*/]"
    r"|[ ]?(?:\\[bp]?mod|mod|\\choose)(?![A-Za-z])|[ ]%[ ]\d|\(\d|![ ]?(?:\Z|[-+*/)])",
    re.IGNORECASE,
)
_ANYWHERE = re.compile(
    rf"{RELATION}|{_FUNCTION}|(?<![A-Za-z\\])[a-fijkn-rt-z][ ]?(?:\^|[-+*][ ]?\d)|\||\\(?:pi|sqrt)(?![A-Za-z])"
    r"|0[ ]?(?:[-+*\u00b7]|\\cdot|\\times)[ ]?\d{0,4}[A-Za-z](?![A-Za-z])|0[ ]?/[ ]?[abcefijknopqrtuvxz](?![A-Za-z])"
    r"|(?<![A-Za-z\\])[A-Za-z]\([ ]?-?0"
)
"""Algebra anywhere in a text in which 0 stands for the number."""
_WINDOW = 40
_EQUALS = re.compile(r"[=\u2248]|\\approx")


def is_in_algebra(text: str, number: Number, start: int, stop: int, *, alone: bool) -> bool:
    """Whether a number is part of an algebraic expression, and so not its value.

    Args:
        text: Text with plain digits.
        number: A number, or the result of a calculation.
        start: Start of the statement that holds it.
        stop: End of that statement.
        alone: Whether the statement should hold nothing but a value, so that algebra anywhere on this side of its
            equations counts; otherwise only algebra right next to the number does.
    """
    before, after = PROSE.sub(" ", text[start : number.start]), text[number.end : stop]
    if (_BEFORE.search(before) and not after.startswith(">")) or _AFTER.match(after) or ends_sum(text, number, start):
        return True
    if not alone:
        return False
    ahead = [sign.end() for sign in _EQUALS.finditer(before)]
    behind = _EQUALS.search(after)
    tail = PROSE.sub(" ", after[: behind.start() if behind else len(after)])
    if _TERM.search(text, number.start, number.end + (behind.start() if behind else len(after))):
        return True
    sign = "-" if text[number.start] in "-\u2212\u2013" else ""
    side = f"{before[ahead[-1] if ahead else 0 :]}{sign}0{tail}"
    return _ANYWHERE.search(side) is not None


def ends_sum(text: str, number: Number, start: int) -> bool:
    """Whether a number ends a sum or a product with a variable, as in `2x + 3`."""
    return _SUMMAND.search(text, max(start, number.start - _WINDOW), number.start) is not None
