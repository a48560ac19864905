"""Reads the text after a mark of the final answer: a value, a calculation, a choice, or nothing safe to read."""

from __future__ import annotations

import re
from dataclasses import dataclass

from kdprobe.problems.reading.algebra import is_in_algebra
from kdprobe.problems.reading.calculations import continued, result_in, worked_out
from kdprobe.problems.reading.labels import Labels
from kdprobe.problems.reading.marks import Mark
from kdprobe.problems.reading.number_words import number_in_words
from kdprobe.problems.reading.numbers import Number, first_number, numbers_in
from kdprobe.problems.reading.ranges import GAP, TO, is_bound

_OPENS = re.compile(
    r"(?:[\s*_~:=>\[{\"'`]|\((?!\d{1,2}\))|\$(?![-\u2212]?[\d.])|\\[(\[]|\\(?:text|math)\w{0,4}\s?\{){0,40}+(?:<<[^<>\n]{0,200}>>)?+",
    re.IGNORECASE,
)
_WRAPPED = re.compile(r"(?:[\s$*{]|\\(?:text|math)\w{0,4}\s?\{){0,8}")
"""What a letter in a box may be wrapped in."""
_SENTENCE_END = re.compile(r"(?<!\bMr)(?<!\bMrs)(?<!\bMs)(?<!\bDr)(?<!\bvs)(?:[.?]|!{1,3}+(?!\s?=))(?=[\s\"'*)]|$)|\n")
_LEAD = re.compile(
    r"""(?:
        [\s*_~\u2248:=>(\[{"'`,]{1,20} | \$(?![-\u2212]?[\d.]) | \\[(\[] | \\(?:text|math)\w{0,4}\s?\{
      | (?:about|approximately|roughly|around|exactly|precisely|just|only|simply|therefore|thus|then|now|indeed
          |equal[ ]to|a[ ]total[ ]of|it[ ]is|at[ ](?:least|most)|[a-z]\w{0,20}\s?=)(?=[\s$\\*,:=\d-])
    ){0,12}+(?:<<[^<>\n]{0,200}>>)?+""",
    re.VERBOSE | re.IGNORECASE,
)
"""Text that may come between a mark and a value that follows immediately."""
_CHOICE = re.compile(
    r"""(?:(?:option|choice|letter|statement)\s)?
    (?:\(\s?(?P<bracketed>[A-H]|\d{1,2})\s?\)|(?P<label>[A-H])(?=$|[).:,;\]}*$"'/]|\s*\n|\s+[(\d$]))
    \s?[).:,;\]}*$"'\\=]{0,6}\s{0,3}(?:\\?text\s?\{\s{0,3})?(?:(?:which\s)?is\s)?""",
    re.VERBOSE,
)
_SHORT = re.compile(r"(?:\s?(?!(?:is|are|was|were)\b)[^\s.;,\d]{1,15}){0,3}\s?(?:[.\n)*;,]|$)")
"""At most a unit, which may follow the value of a choice."""
_BRACE = re.compile(r"[{}]")
_UNCLOSED_END = re.compile(r"[$\n]|[.!?](?=\s)|\\?f?boxed")
"""The end of a box whose closing brace is missing."""
_NEXT = rf"{GAP}{{0,8}}(?:[a-z]\w{{0,9}}{GAP}{{0,3}}=)?{GAP}{{0,3}}[-\u2212]?[$\u20ac\u00a3]?(?=\.?\d)"
_OTHER = re.compile(rf"{TO}{_NEXT}", re.IGNORECASE)
"""Text after the number in "9 or 10", which states neither."""
_OTHERS = re.compile(
    rf"{_OTHER.pattern}|(?:{GAP}|[a-z]){{0,24}}(?:[,;:&]|\band\b){_NEXT}|{GAP}{{1,8}}(?=\d)",
    re.IGNORECASE,
)
"""The same in a box or in brackets, which should hold a single value."""
_BOTH = re.compile(rf"{GAP}{{0,4}}(?:and\b|&){_NEXT}[\d.,]{{1,12}}{GAP}{{0,3}}(?:[.*)]|\Z)", re.IGNORECASE)
"""Text after the first number in "3 and 4", if nothing follows; of "3, 4", the first answers the question."""
_IN_BRACKETS = re.compile(r"(?<!\\)[(\[][\s$\\]{0,3}\Z")
_PARTS = re.compile(
    rf"(?:{GAP}{{0,8}}(?:(?:dollars?|hours?|hrs?|minutes?|mins?|feet|foot|ft|pounds?|lbs?|days?|weeks?|months?|years?)\b"
    rf"|(?:h|m|d)(?=\s?\d)|['\u2032]),?{GAP}{{0,8}}(?:and{GAP}{{1,8}})?"
    r"|[ ](?:and[ ])?(?=\d{1,2}[ ]?(?:cents?|[pc])\b))"
    rf"(?P<smaller>\d)[\d.]{{0,6}}{GAP}{{0,8}}"
    r"(?:cents?|minutes?|mins?|seconds?|secs?|inch(?:es)?|in|ounces?|oz|hours?|days?|weeks?|months?|[mspc]|[\"\u2033])"
    r"(?![A-Za-z])(?!\s(?:a|an|per|each|every|all|total)\b)",
    re.IGNORECASE,
)
"""Text after the first number in "2 hours and 30 minutes"."""


@dataclass(frozen=True)
class Statement:
    """The statement after a mark.

    Attributes:
        number: The value and its position; the value is `None` if it is uncertain.
        is_open: Whether the statement leaves open which value it means (only a letter, or several numbers), so that an
            earlier statement may have it.
    """

    number: Number
    is_open: bool = False


def stated(text: str, mark: Mark, labels: Labels) -> Statement | None:
    """The statement after a mark; `None` if it is not a number, or was cut off.

    Args:
        text: Text with plain digits.
        mark: A mark in the text.
        labels: The labels in the text.
    """
    scope = _scope(text, mark)
    if scope is None:
        return None
    start, stop, at_once = scope
    wrapped = _WRAPPED.match(text, start, mark.stop) if mark.kind == "boxed" else None
    if choice := _CHOICE.match(text, wrapped.end() if wrapped else start, mark.stop):
        label = choice["bracketed"] or choice["label"]
        if label.isalpha() or label in labels.options:
            return _chosen(text, choice, label, mark.stop, labels)
    if word := number_in_words(text, start, stop):
        return Statement(word)
    said = _said(text, start, stop, labels, at_once=at_once)
    return said if said is None or said.number.value is None else Statement(_single(text, mark, said.number, stop))


def _single(text: str, mark: Mark, number: Number, stop: int) -> Number:
    """A number if it is the only value of the statement; the result of its equation, if it is only a part of it."""
    unread = Number(None, number.start, number.end)
    alone = mark.kind == "boxed"
    others = (_OTHERS,) if alone or _IN_BRACKETS.search(text[mark.end : number.start]) else (_OTHER, _BOTH)
    if any(other.match(text, number.end, stop) for other in others) or is_bound(text, number, mark.end, stop):
        return unread
    if not is_in_algebra(text, number, mark.end, stop, alone=alone):
        return number
    result = result_in(text, number.end, stop)
    return unread if result is None or is_in_algebra(text, result, mark.end, stop, alone=alone) else result


def _scope(text: str, mark: Mark) -> tuple[int, int, bool] | None:
    """Start and end of a statement, and whether its value must come immediately; `None` if it was cut off."""
    if mark.kind == "boxed":
        end = _closing(text, mark) or _UNCLOSED_END.search(text, mark.end, mark.stop)
        return (mark.end, end.start(), False) if end else None
    opens = _OPENS.match(text, mark.end, mark.stop)
    start = opens.end() if opens else mark.end
    end = _SENTENCE_END.search(text, start, mark.stop)
    return start, end.start() if end else mark.stop, mark.bare or "\n" in text[mark.end : start]


def boxed_text(text: str, box: Mark) -> str | None:
    """The contents of a box; `None` if it is not closed."""
    end = _closing(text, box)
    return text[box.end : end.start()].strip() if end else None


def is_cut_off(text: str, box: Mark) -> bool:
    """Whether the text ends within a box, so that its number may lack digits."""
    return not _closing(text, box) and not _UNCLOSED_END.search(text, box.end)


def _closing(text: str, box: Mark) -> re.Match[str] | None:
    """The brace that closes a box, or `None`."""
    depth = 1
    for brace in _BRACE.finditer(text, box.end, box.stop):
        depth += 1 if brace[0] == "{" else -1
        if depth == 0:
            return brace
    return None


def _chosen(text: str, choice: re.Match[str], label: str, stop: int, labels: Labels) -> Statement:
    """The value of an option: as listed, else as written after its letter."""
    value = labels.options.get(label)
    number = first_number(text, choice.end(), stop) if value is None else None
    if number and number.start == choice.end() and _SHORT.match(text, number.end):
        return Statement(number)
    start, end = choice.span("bracketed" if choice["bracketed"] else "label")
    return Statement(Number(value, start, end), is_open=value is None)


def _said(text: str, start: int, stop: int, labels: Labels, *, at_once: bool) -> Statement | None:
    """The number at the start of a sentence; failing that, the result of its equation, or its only number."""
    numbers = [number for number in numbers_in(text, start, stop) if not labels.has(number)]
    lead = _LEAD.match(text, start, stop)
    follows = bool(numbers) and lead is not None and lead.end() >= numbers[0].start
    if not numbers or (at_once and not follows):
        return None
    readable = follows and numbers[0].value is not None
    result = None if readable else result_in(text, start, stop)
    if result is None:
        if not follows and len({number.value for number in numbers}) > 1:
            return Statement(Number(None, numbers[0].start, numbers[-1].end), is_open=True)
        result = continued(text, numbers[0], worked_out(text, numbers[0], stop), stop)
    if _PARTS.match(text, result.end):
        result = Number(None, result.start, result.end)
    return Statement(result)


def is_part_of_larger(text: str, before: Number, number: Number) -> bool:
    """Whether two numbers form one quantity, as in "2 hours and 30 minutes", which is neither 2 nor 30."""
    parts = _PARTS.match(text, before.end)
    return parts is not None and parts.start("smaller") == number.start
