"""Recognises bounds and ranges, which name numbers without stating a value: `x > 3`, "more than 3", "3 to 5"."""

from __future__ import annotations

import re

from kdprobe.problems.reading.numbers import Number

RELATION = r"(?:<|(?<![-=>|])>(?!>))=?|[\u2264\u2265\u2260]|\\(?:leq?|geq?|neq?|lt|gt|in)(?![A-Za-z])"
GAP = r"(?:[\s%$~{}]|\\[ ,;:!%$]|\\(?:text|mathrm|mbox|q?quad)(?![A-Za-z]))"
"""What may stand between a number and the next word."""
PROSE = re.compile(
    r"</?\w{1,10}(?:\s[^<>\n]{1,80}=[^<>\n]{1,80})?>|<<[^<>\n]{0,200}>>"
    r"|\\(?:text\w{0,2}|mbox|mathrm|operatorname)\s?\{[^{}]{0,80}\}(?:\^\s?\{?\d\}?)?"
)
"""Text that is not part of a calculation: tags, GSM8K's annotations, and words in LaTeX with their exponents."""
_LARGER = r"(?:more|greater|less|fewer|larger|smaller|bigger|higher|lower|longer|shorter|older|younger)"
_WINDOW = 40
_BOUNDED = re.compile(
    rf"(?:{RELATION}|\b{_LARGER}[ ]than(?:[ ](?:the|his|her|their|its|a))?)[\s($\\]{{0,3}}\Z", re.IGNORECASE
)
"""Text right before a number that bounds something else."""
_BOUNDS = re.compile(
    rf"""{GAP}{{0,4}}(?:[a-z]{{2,12}}{GAP}{{1,3}}){{0,2}}(?:or|and){GAP}{{1,3}}
        (?:{_LARGER}|above|below|over|under|up)\b(?![ ](?:precisely|than))
      | {GAP}{{0,4}}(?:[a-z]{{2,12}}[ ]){{0,2}}{_LARGER}[ ]than[ ]\$?\d
      | [ ]?(?:[<>]=|[\u2264\u2265\u2260]|\\(?:leq?|geq?|neq?|lt|gt|in)(?![A-Za-z]))
      | [ ]?[<>](?:[ ]?[-$\\\d]|[ ](?-i:[a-z])|(?-i:[a-z])(?![\w>]))""",
    re.IGNORECASE | re.VERBOSE,
)
"""Text right after a number that makes it a bound."""
TO = rf"{GAP}{{0,8}}(?:(?!compared|close|due|prior|next)[a-z]{{1,10}}{GAP}{{1,3}})?(?:to|or|through|thru)\b"
"""Text between the numbers of a range, with at most a word of unit."""
_RANGE = re.compile(rf"{TO}{GAP}{{1,4}}", re.IGNORECASE)
_AND = re.compile(rf"{TO.replace('to|or|', 'and|to|or|')}{GAP}{{1,4}}", re.IGNORECASE)
_BETWEEN = re.compile(r"\bbetween\s[^\d\n]{0,20}\Z", re.IGNORECASE)
_CHANGED = re.compile(
    r"\b(?:ris|rose|increas|gr[eo]w|go|went|drop|f[ae]ll|decreas|chang|reduc|jump|climb|rais|lower|declin|mov|shift|com|came)"
    r"[a-z]{0,4}\s(?:[\w']{1,12}\s){0,3}from\s.{0,2}\Z",
    re.IGNORECASE,
)
"""Text before the first of two numbers of which the second is the outcome: "rises from 8 to 18"."""
_COMMA = re.compile(rf"{GAP}{{0,4}}[,;]{GAP}{{0,4}}")
_OPEN = re.compile(r"[(\[]\s?\Z")
_CLOSE = re.compile(r"\s?(?:\\right)?[)\]]")


def is_bound(text: str, number: Number, start: int, stop: int) -> bool:
    """Whether a number only bounds a value, as in `x > 3`, "less than 3" and "3 or more".

    Args:
        text: Text with plain digits.
        number: A number in it.
        start: Where to stop looking before the number.
        stop: Where to stop looking after it.
    """
    before = PROSE.sub(" ", text[max(start, number.start - _WINDOW) : number.start].rpartition("\n")[2])
    is_bounded = _BOUNDED.search(before) and before.strip() != ">" and not text.startswith(">", number.end)
    return bool(is_bounded) or _BOUNDS.match(text, number.end, stop) is not None


def is_range(text: str, low: Number, high: Number) -> bool:
    """Whether two numbers form a range or alternatives: "3 to 5", "between 3 and 5", "3 or 5" and `(3, 5)`."""
    if low.value == high.value and low.value is not None:
        return False  # "0.4 or 2/5"
    before = text[max(0, low.start - _WINDOW) : low.start]
    if _COMMA.fullmatch(text, low.end, high.start):
        return _OPEN.search(before) is not None and _CLOSE.match(text, high.end) is not None
    if _CHANGED.search(before):
        return False
    joins = _AND if _BETWEEN.search(before) else _RANGE
    return joins.fullmatch(text, low.end, high.start) is not None
