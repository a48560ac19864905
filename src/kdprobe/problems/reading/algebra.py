r"""Recognises algebra, in which a number is only a part: `6 - 5i`, `x \ge 3`, `\ln 2` and `(5, \infty)`."""

from __future__ import annotations

import re

from kdprobe.problems.reading.numbers import Number

_RELATION = r"(?:<|(?<![-=])>)=?|[\u2264\u2265\u2260]|\\(?:leq?|geq?|neq?|lt|gt|in)(?![A-Za-z])"
_FUNCTION = (
    r"\\(?:ln|log|sin|cos|tan|cot|sec|csc|arc\w{3}|exp|binom|begin|choose|over|cup|cap|infty|pm|mp|lceil|lfloor)"
    r"(?![A-Za-z])"
)
_VARIABLE = r"(?:\d[\d.]{0,20}[ ]?[a-fijn-rt-z](?![A-Za-z.])|[b-fijn-rt-z](?![A-Za-z.'])|\\(?:pi|sqrt)|[\u03c0\u221a])"
"""A variable, or a term with one; letters that are often units, and "a", count only behind a digit."""
_BEFORE = re.compile(
    rf"(?:{_RELATION}|\\infty[ ]?,|\\(?:ln|log|sin|cos|tan)(?:_\{{?\d{{1,3}}\}}?)?|\bmod"
    r"|\b(?:half|thirds?|quarters?|double|twice|triple|thrice)(?:[ ]of)?(?:[ ]the)?)[\s($\\]{0,3}\Z",
    re.IGNORECASE,
)
_AFTER = re.compile(
    rf"[ ]?(?:[-+*\u00b7]|\\cdot|\\times)[ ]?{_VARIABLE}|[ ][ixy](?=[\s}}]{{0,9}}(?:\Z|[-+]))|[ ]?,[ ]?[-+]?\\infty"
    r"|[ ]?(?:\\[bp]?mod|mod|\\choose)(?![A-Za-z])|[ ]%[ ]\d|\(\d|![ ]?(?:\Z|[-+*/)])",
    re.IGNORECASE,
)
_ANYWHERE = re.compile(
    rf"{_RELATION}|{_FUNCTION}|(?<![A-Za-z\\])[a-fijkn-rt-z][ ]?(?:\^|[-+*][ ]?\d)|\||\\(?:pi|sqrt)(?![A-Za-z])"
)
_PROSE = re.compile(
    r"</?\w{1,10}>|<<[^<>\n]{0,200}>>|\\(?:text\w{0,2}|mbox|mathrm|operatorname)\s?\{[^{}]{0,80}\}(?:\^\s?\{?\d\}?)?"
)
"""Text that is not part of a calculation: tags, GSM8K's annotations, and words in LaTeX with their exponents."""
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
    before, after = _PROSE.sub(" ", text[start : number.start]), text[number.end : stop]
    if (_BEFORE.search(before) and not after.startswith(">")) or _AFTER.match(after):
        return True
    if not alone:
        return False
    ahead = [sign.end() for sign in _EQUALS.finditer(before)]
    behind = _EQUALS.search(after)
    tail = _PROSE.sub(" ", after[: behind.start() if behind else len(after)])
    sign = "-" if text[number.start] in "-\u2212\u2013" else ""
    side = f"{before[ahead[-1] if ahead else 0 :]}{sign}0{tail}"
    return _ANYWHERE.search(side) is not None
