"""Numbers and letters that are labels rather than quantities: steps, headings, list items, answer options."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction
from functools import cached_property

from kdprobe.problems.reading.calculations import result_in
from kdprobe.problems.reading.numbers import Number, numbers_in

_NAMED = re.compile(
    r"\b(?:steps?|parts?|questions?|problems?|examples?|cases?|methods?|options?|choices?|statements?|equations?"
    r"|exercises?|fig(?:ure)?|section|eqs?|(?:foot)?notes?)\.?[\s#(]{1,3}(?:\d{1,2}(?:\s?[-\u2013,&]\s?|\s(?:and|to)\s)){0,2}$",
    re.IGNORECASE,
)
"""Text right before a number that is a label."""
_HEADING = re.compile(r"(?:^|\n)[\s>#*]{0,8}[A-Z][a-z]{1,15}[ ]$")
"""Text right before a number that heads a line if a colon follows, as in "Day 3: 10 pages"."""
_LONGEST_NAME = 28
_ITEM = re.compile(
    r"^[ \t>]{0,8}(?:#{1,6}[ \t]{0,4})?(?:\*\*)?\(?(?P<label>\d{1,3})(?:[.):](?=[\s*]|$)|$)(?P<more>[ \t*]{0,8}\S)?",
    re.MULTILINE,
)
_OPTION = re.compile(r"(?:(?<=[\s(*])|^)(?:\((?P<bracketed>[A-H]|\d{1,2})\)|(?P<label>[A-H])[).:])(?:\*\*)?(?=[\s$\d])")
_LONGEST_OPTION = 80


class Labels:
    """The labels in a text, found on demand.

    Args:
        text: Text with plain digits.
    """

    def __init__(self, text: str) -> None:
        self._text = text

    def has(self, number: Number) -> bool:
        """Whether a number labels a step, a heading, a list item, an option or the like."""
        before = self._text[max(0, number.start - _LONGEST_NAME) : number.start]
        heads = self._text.startswith((":", "**:"), number.end) and _HEADING.search(before)
        return number.start in self._items or bool(heads) or _NAMED.search(before) is not None

    @cached_property
    def _items(self) -> set[int]:
        """Positions of the numbers of headings and list items: 1 followed by text, 2 after 1, and so on."""
        found: set[int] = set()
        expected = {1}
        for match in _ITEM.finditer(self._text):
            label = int(match["label"])
            if label in expected and (label > 1 or match["more"]):
                found.add(match.start("label"))
                expected.add(label + 1)
        return found

    @cached_property
    def options(self) -> Mapping[str, Fraction | None]:
        """Answer options, `A) 12 B) 15` or `(1) ... (2) ...`: values by label.

        The value is `None` if an option has none, or several. The first list counts, because answers often mention
        individual options again later.
        """
        found: dict[str, Fraction | None] = {}
        matches = list(_OPTION.finditer(self._text))
        expected = {"A", "1"}
        for index, match in enumerate(matches):
            label = match["bracketed"] or match["label"]
            if label not in expected:
                continue
            stop = matches[index + 1].start() if index + 1 < len(matches) else len(self._text)
            line = self._text[match.end() : min(stop, match.end() + _LONGEST_OPTION)].partition("\n")[0]
            found[label] = _only_value(line)
            expected = {str(int(label) + 1) if label.isdecimal() else chr(ord(label) + 1)}
        return found if len(found) > 1 else {}


def _only_value(text: str) -> Fraction | None:
    if result := result_in(text, 0, len(text)):
        return result.value
    values = {number.value for number in numbers_in(text)}
    return values.pop() if len(values) == 1 else None
