"""The final value of an answer: the one stated by the last mark of the strongest kind, else an unmarked number."""

from __future__ import annotations

import re
from itertools import chain, pairwise

from kdprobe.problems.reading.algebra import ends_sum
from kdprobe.problems.reading.calculations import ended_by
from kdprobe.problems.reading.labels import Labels
from kdprobe.problems.reading.marks import KINDS, Mark, marks_in
from kdprobe.problems.reading.numbers import Number, first_number, numbers_from_last
from kdprobe.problems.reading.ranges import is_bound, is_range
from kdprobe.problems.reading.statements import is_cut_off, is_part_of_larger, stated

_RULES = {"final": "answer-is", "answer": "answer-is"}
_BARE_BEFORE = re.compile(r"[\s$*\\(]{0,8}")
_BARE_BEHIND = re.compile(r"[%$*)\\]{0,4}\.?[$*)\\]{0,4}(?:[ ]{0,8}\n|[ ]{2,8})")
"""Text around a number that is a line or a sentence on its own."""
_CALCULATES = re.compile(r"=\s{0,3}\\?\$?\s?\d|\d\s{0,2}[-+*/x\u00d7\u00f7]\s{0,2}\$?\d")
_IN_A_ROW = re.compile(r"[^{}\n]{0,20}\}[ $,;\\()*]{0,12}(?:(?:and|or|&)[ $\\(*]{0,12})?\\?f?boxed\s?\{[\s$\\(]{0,8}")
"""Text between the numbers of several boxes that form a list."""


def final_value(text: str) -> tuple[str, Number] | None:
    """The rule that finds the value of an answer, and the number it finds.

    Args:
        text: Text with plain digits.

    Returns:
        `None` if there is no number. The number's value is `None` if none is safe to read.
    """
    marks = marks_in(text)
    labels = Labels(text)
    unsaid = None
    for kind in KINDS:
        rule = _RULES.get(kind, kind)
        statements = (found for mark in reversed(marks[kind]) if (found := stated(text, mark, labels)))
        for statement in statements:
            if statement.is_open:
                unsaid = unsaid or (rule, statement.number)
                continue
            number = statement.number
            for earlier in statements:
                if not _belongs(text, earlier.number, number):
                    break
                number = earlier.number
            return rule, number
    if unsaid:
        return unsaid
    if opening := _opening(text, labels):
        return "opening", opening
    last = _last_number(text, marks["boxed"], labels)
    return ("last-number", last) if last else None


def _belongs(text: str, earlier: Number, number: Number) -> bool:
    """Whether to prefer an earlier statement: the first of several boxes in a row, or one that was not cut off."""
    if _IN_A_ROW.fullmatch(text, earlier.end, number.start):
        return True
    written = text[number.start : number.end]
    return (
        number.end == len(text)
        and text.startswith(written, earlier.start)
        and len(written) < earlier.end - earlier.start
    )


def _opening(text: str, labels: Labels) -> Number | None:
    """A standalone number at the start of the answer, if no calculation follows: the rest then explains it."""
    number = first_number(text)
    if number is None or not _BARE_BEFORE.fullmatch(text, 0, number.start) or labels.has(number):
        return None
    behind = _BARE_BEHIND.match(text, number.end)
    return number if behind and not _CALCULATES.search(text, behind.end()) else None


def _last_number(text: str, boxes: list[Mark], labels: Labels) -> Number | None:
    """The last number that is neither a label nor cut off; the result, if it ends a calculation."""
    stop = boxes[-1].start if boxes and is_cut_off(text, boxes[-1]) else len(text)
    for number, before in pairwise(chain(numbers_from_last(text, stop), [None])):
        if number is None or labels.has(number):
            continue
        if before and (is_part_of_larger(text, before, number) or is_range(text, before, number)):
            return Number(None, before.start, number.end)
        if is_bound(text, number, 0, stop) or ends_sum(text, number, 0):
            return Number(None, number.start, number.end)
        return ended_by(text, number)
    return None
