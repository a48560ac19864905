"""What stands behind a mark of the final answer: a value, a calculation, a choice, or nothing that is safe to read."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from fractions import Fraction

from kdprobe.problems.reading.calculations import result_in, worked_out
from kdprobe.problems.reading.labels import is_name
from kdprobe.problems.reading.marks import Mark
from kdprobe.problems.reading.numbers import Number, numbers_in

Options = Callable[[], Mapping[str, Fraction | None]]
_OPENS = re.compile(r"(?:[\s*_~:=>$(\[{\"'`]|\\[(\[]|\\(?:text|math)\w{0,4}\s?\{){0,40}+", re.IGNORECASE)
_SENTENCE_END = re.compile(r"(?<!\bMr)(?<!\bMrs)(?<!\bMs)(?<!\bDr)(?<!\bvs)[.!?](?=[\s\"'*)]|$)|\n")
_LEAD = re.compile(
    r"""(?:
        [\s*_~\u2248:=>$(\[{"'`,]+ | \\[(\[] | \\(?:text|math)\w{0,4}\s?\{
      | (?:about|approximately|roughly|around|exactly|precisely|just|only|simply|therefore|thus|then|now|indeed|equal[ ]to
          |a[ ]total[ ]of|it[ ]is|that|at[ ](?:least|most)|[a-z]\w{0,20}\s?=)(?=[\s$\\*,:=\d-])
    ){0,12}+""",
    re.VERBOSE | re.IGNORECASE,
)
"""What may stand between a mark and a value that follows at once."""
_CHOICE = re.compile(
    r"""(?:(?:option|choice|letter|statement)\s)?
    (?:\(\s?(?P<bracketed>[A-H]|\d{1,2})\s?\)|(?P<label>[A-H])(?=$|[).:,;\]}*$"'/]|\s*\n|\s+[(\d$]))
    [).:,;\]}*$"'\\=]{0,6}\s{0,3}(?:(?:which\s)?is\s)?""",
    re.VERBOSE,
)
_SHORT = re.compile(r"[^.\n\d]{0,24}(?:[.\n)*]|$)")
"""What ends the statement behind the value of a choice."""
_OTHER = re.compile(r"[\s%$]{0,3}(?:to|or|through)\s{0,2}\\?[$\u20ac\u00a3]?(?=\d)", re.IGNORECASE)
"""Behind the number of "9 or 10", which is neither."""
_SMALLER_UNIT = re.compile(
    r"\s?(?:dollars?|hours?|hrs?|minutes?|mins?|feet|foot|ft|pounds?|lbs?|days?|weeks?|months?|years?)\b"
    r",?\s?(?:and\s)?\d{1,6}\s?"
    r"(?:cents?|minutes?|mins?|seconds?|secs?|inch(?:es)?|ounces?|oz|hours?|days?|weeks?|months?)\b"
    r"(?!\s(?:a|an|per|each|every)\b)",
    re.IGNORECASE,
)
"""Behind the number of "2 hours and 30 minutes", which is neither 2 nor 30."""


def stated(text: str, mark: Mark, options: Options) -> Number | None:
    """The value that a mark marks.

    Args:
        text: With plain digits.
        mark: One of the text's.
        options: Finds what the text lists to choose from.

    Returns:
        The number; its value is `None` where it has none that is certain. `None` where the mark states no number.
    """
    start, stop, at_once = _scope(text, mark)
    if start is None:
        return None
    if (choice := _CHOICE.match(text, start, stop)) and (not choice["bracketed"] or _is_chosen(choice, options)):
        return _chosen(text, choice, stop, options)
    return _number(text, start, stop, at_once=at_once)


def _scope(text: str, mark: Mark) -> tuple[int | None, int, bool]:
    """Where the statement begins and stops, and whether its value must come at once."""
    if mark.rule == "boxed":
        closed = _closing(text, mark.end, mark.stop)
        return (None, 0, False) if closed is None and mark.stop == len(text) else (mark.end, closed or mark.stop, False)
    opens = _OPENS.match(text, mark.end, mark.stop)
    start = opens.end() if opens else mark.end
    end = _SENTENCE_END.search(text, start, mark.stop)
    return start, end.start() if end else mark.stop, mark.bare or "\n" in text[mark.end : start]


def _closing(text: str, start: int, stop: int) -> int | None:
    """Where the brace closes that was opened before `start`, or `None`."""
    depth = 1
    for brace in _BRACE.finditer(text, start, stop):
        depth += 1 if brace[0] == "{" else -1
        if depth == 0:
            return brace.start()
    return None


_BRACE = re.compile(r"[{}]")


def _is_chosen(choice: re.Match[str], options: Options) -> bool:
    """Whether brackets hold one of the options, and not just a value."""
    return not choice["bracketed"].isdecimal() or choice["bracketed"] in options()


def _chosen(text: str, choice: re.Match[str], stop: int, options: Options) -> Number | None:
    """The value of an option: as written behind its letter, else as it was listed."""
    label = choice["bracketed"] or choice["label"]
    number = next(numbers_in(text, choice.end(), stop), None)
    if number and number.start == choice.end() and (label.isalpha() and _SHORT.match(text, number.end)):
        return number
    value = options().get(label)
    return None if value is None else Number(value, choice.start("bracketed" if choice["bracketed"] else "label"), choice.end())


def _number(text: str, start: int, stop: int, *, at_once: bool) -> Number | None:
    numbers = [number for number in numbers_in(text, start, stop) if not is_name(text, number)]
    if not numbers:
        return None
    first = numbers[0]
    lead = _LEAD.match(text, start, stop)
    follows = lead is not None and lead.end() >= first.start
    if at_once and not follows:
        return None
    result = worked_out(text, first, stop) if follows else result_in(text, start, stop) or worked_out(text, first, stop)
    if _OTHER.match(text, result.end, stop) or _SMALLER_UNIT.match(text, result.end):
        return Number(None, result.start, result.end)
    return result
