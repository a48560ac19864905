"""Numbers and letters that name a thing rather than count it: steps, headings, items of a list, options to choose."""

from __future__ import annotations

import re
from fractions import Fraction

from kdprobe.problems.reading.calculations import result_in
from kdprobe.problems.reading.numbers import Number, numbers_in

_NAMED = re.compile(
    r"\b(?:steps?|parts?|questions?|problems?|examples?|cases?|methods?|options?|choices?|statements?|equations?"
    r"|exercises?|figure|section)[\s#(]{1,3}(?:\d{1,2}(?:\s?[-\u2013,&]\s?|\s(?:and|to)\s)){0,2}$",
    re.IGNORECASE,
)
"""What stands right before a number that is a name."""
_LONGEST_NAME = 28
_ITEM = re.compile(r"^[ \t>]{0,8}(?:#{1,6}[ \t]{0,4})?(?:\*\*)?\(?(?P<label>\d{1,3})(?:[.):](?=[\s*]|$)|$)", re.MULTILINE)
_OPTION = re.compile(r"(?:(?<=[\s(*])|^)(?:\((?P<bracketed>[A-H]|\d{1,2})\)|(?P<label>[A-H])[).:])(?:\*\*)?(?=[\s$\d])")
_LONGEST_OPTION = 80


def item_labels(text: str) -> set[int]:
    """Where the numbers of numbered headings and lists begin: 1 with something behind it, 2 after 1, and so on."""
    found: set[int] = set()
    expected = {1}
    for match in _ITEM.finditer(text):
        label = int(match["label"])
        if label in expected and (label > 1 or text[match.end() : match.end() + 40].split("\n", 1)[0].strip(" *")):
            found.add(match.start("label"))
            expected.add(label + 1)
    return found


def is_name(text: str, number: Number) -> bool:
    """Whether a number is that of a step, a question, an option or the like."""
    return _NAMED.search(text, max(0, number.start - _LONGEST_NAME), number.start) is not None


def options(text: str) -> dict[str, Fraction | None]:
    """The options that a text lists, `A) 12 B) 15` or `(1) ... (2) ...`: label to value, `None` where it has not one.

    The first list counts, as answers name single options again.
    """
    found: dict[str, Fraction | None] = {}
    matches = list(_OPTION.finditer(text))
    for index, match in enumerate(matches):
        label = match["bracketed"] or match["label"]
        if label != (_after(list(found)[-1]) if found else "A") and not (not found and label == "1"):
            continue
        stop = matches[index + 1].start() if index + 1 < len(matches) else len(text)
        line = text[match.end() : min(stop, match.end() + _LONGEST_OPTION)].partition("\n")[0]
        result = result_in(line, 0, len(line))
        values = {result.value} if result else {number.value for number in numbers_in(line)}
        found[label] = values.pop() if len(values) == 1 else None
    return found if len(found) > 1 else {}


def _after(label: str) -> str:
    return str(int(label) + 1) if label.isdecimal() else chr(ord(label) + 1)
