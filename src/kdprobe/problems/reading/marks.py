r"""The marks of a final answer: `\boxed{...}`, `####`, "the final answer is", "the answer is" and the like."""

from __future__ import annotations

import re
from dataclasses import dataclass

KINDS = ("boxed", "hashes", "final", "answer", "conclusion")
"""Kinds of marks, strongest first."""
_WINDOW = 200
"""Characters after a mark in which its value is looked for."""
_OF_NUMBER = frozenset("0123456789.,:'")
_MARK = re.compile(
    r"""
    # What a mark can begin with, so that most positions are skipped at once.
    (?=[\\\x08\#]|(?<![A-Za-z])[abcfiorw])
    (?:
    (?P<boxed>(?:\\f?|\x08|(?<![A-Za-z]))b?oxed\s?\{)
  | (?P<hashes>(?<!\#)\#{4}(?!\#))
  | (?<![A-Za-z/])(?P<final>final[\s_-]{1,2})?(?<!incorrect[ ])(?<!wrong[ ])
    (?:answers?|(?:correct|right|best)[ ](?:option|choice))
    ["'*_`)\]]{0,4}[ ]{0,3}
    (?:
        (?:\([^()\n]{1,40}\)[ ]?|,[ ][^.,:=\d\n]{1,40},[ ])?
        (?:(?:to|for|of|in)[ ][^.:=\n]{1,60}?[ ])?
        (?:(?:is|are|was|(?:will|would|should|must|has[ ]to)[ ]be|equals|becomes|comes[ ]to|that)(?![A-Za-z])
          |[:=>]|->|\u2192)
      | ,[ ]which[ ]is(?![A-Za-z])
      | of(?=[ ]\\?[$\u20ac\u00a3]?\d)
      | (?P<bare>\n|[ ]in[ ](?:a|the)[ ]box(?:\W|ed\b))
    )
    ["'*_`]{0,4}(?!\s{1,3}not\b|n't)
  | (?P<conclusion>(?<![A-Za-z])(?:we|I)[ ](?:(?:have|can|now|therefore|thus|then|may|must)[ ]){0,3}
      (?:determined?|concluded?)[ ]that|in[ ]conclusion(?![A-Za-z]))
    )
    """,
    re.VERBOSE | re.IGNORECASE,
)


@dataclass(frozen=True)
class Mark:
    """A place in a text that announces the final answer.

    Attributes:
        kind: One of `KINDS`.
        start: Start of the mark.
        end: End of the mark, where the marked text begins.
        stop: Where to stop looking for the value: at the next mark, or after the window.
        bare: Whether it is only a sign or a line on its own, so that the value must follow immediately.
    """

    kind: str
    start: int
    end: int
    stop: int
    bare: bool


def marks_in(text: str) -> dict[str, list[Mark]]:
    """Marks by kind, in order. The text spans after marks do not overlap, except for boxes within other statements."""
    found: dict[str, list[Mark]] = {kind: [] for kind in KINDS}
    matches = list(_MARK.finditer(text))
    starts = [match.start() for match in matches[1:]] + [len(text)]
    # If there are no matches, `starts` has one element too many.
    for match, following in zip(matches, starts, strict=False):
        kind = next((kind for kind in KINDS if kind != "answer" and match[kind]), "answer")
        stop = min(following, match.end() + _WINDOW)
        # The end of the window must not cut a number.
        while match.end() < stop < following and _OF_NUMBER.issuperset(text[stop - 1 : stop + 1]):
            stop -= 1
        found[kind].append(Mark(kind, match.start(), match.end(), stop, bool(match["hashes"] or match["bare"])))
    return found
