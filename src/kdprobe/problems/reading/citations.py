"""Finds what refers to a source or a note rather than stating a quantity: `[1]`, `[^1]`, "(Smith, 2020)", addresses."""

from __future__ import annotations

import re

_NUMBERS = r"\^?\d{1,3}(?:\s?[,;\u2013-]\s?\^?\d{1,3}){0,5}"
_PLACE = (
    r"(?:see[ ]|cf\.?[ ]|from[ ]|per[ ])?"
    r"(?:(?:source|ref(?:erence)?|citation|(?:foot)?note|page|pp?|table|fig(?:ure)?|appendix|chapter|ch|eqn?|equation)s?"
    r"\.?[ ]?\#?\d{1,4}(?:[-\u2013]\d{1,4})?(?:[,;][ ]|[ ]of[ ])?){1,3}"
    r"|(?:source|ref(?:erence)?|citation)s?:[^()\[\]\n]{0,80}"
)
_MARK = re.compile(
    rf"""
    # What a reference can begin with, so that most positions are skipped at once.
    (?=[\[(^<\\\u3010hw])(?:
    (?P<numbers>\[(?P<note>{_NUMBERS})\]|\^\s?\{{?\[{_NUMBERS}\]\}}?)(?![ ]?[-+*/=^])
  | (?P<equation>(?<!\\)\(\d{{1,2}}\)(?=[ .]{{0,4}}$))
  | (?P<address>(?:https?://|\bwww\.)[^\s()\[\]{{}}<>"]{{1,400}})
  | \u3010[^\u3011\n]{{0,80}}\u3011 | \[(?:{_PLACE})\] | \((?:{_PLACE})\)
  | \\(?:cite[a-z]?|footnote(?:mark)?|(?:eq)?ref|label|tag)\*?(?:\[[^\[\]\n]{{0,40}}\])?\{{[^{{}}\n]{{0,200}}\}}
  | \((?-i:[A-Z])[^\W\d]{{1,30}}[^()\n\d]{{0,60}}(?:,|\bal\.?)[ ](?:1[5-9]|20)\d\d[a-z]?(?:,[^()\n]{{0,40}})?\)
  | <sup>\s?\[{_NUMBERS}\]\s?</sup> | (?<![\d)])<su[pb]>\s?[-\u2212]?\d{{1,3}}\s?</su[pb]>
    )
    """,
    re.VERBOSE | re.IGNORECASE | re.MULTILINE,
)
_BEHIND_VALUE = re.compile(
    r"(?:[\d%)}\]]|[a-z\d)%][$*.,!?;\"'\u201d]{1,3}|\d[ ]?[a-z\u00b0]{1,15})(?:[ \t&]|\\q?quad|\\[,;]){0,8}\Z",
    re.IGNORECASE,
)
_BEHIND_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z-]{2,30}[ ]?\Z")
_STATES = re.compile(
    r"\b(?:is|are|was|were|be|ha[sd]|have|g[eo]ts?|gives|equals|total|makes|leaves|than|and|the|answer|needs|pays|earns|spends"
    r"|costs|takes|value|result|about|approximately|exactly|only|with|for|from|into|list|set|range|interval)[ ]?\Z",
    re.IGNORECASE,
)
"""Words after which a number in brackets may be the value."""
_DEFINITION = re.compile(r"^[ \t]{0,4}\[\^?(?P<note>\d{1,3})\](?P<clear>:|[^\n]{0,200}://)?[^\n]{0,400}", re.MULTILINE)
_WINDOW = 40


def without_citations(text: str) -> str:
    """The text with spaces in place of references and notes, so that positions do not change.

    Args:
        text: Text with plain digits.
    """
    expected, cited = {1}, set[str]()

    def blank(match: re.Match[str]) -> str:
        if match["address"]:
            return re.sub(r"\d", "x", match[0])
        written = match["numbers"] or match["equation"]
        if written:
            numbers = re.findall(r"\d+", written)
            before = text[max(0, match.start() - _WINDOW) : match.start()]
            if not _cites(before, match, is_expected=int(numbers[0]) in expected):
                return match[0]
            expected.update(number + more for number in map(int, numbers) for more in (0, 1))
            cited.update(numbers)
        return " " * len(match[0])

    plain = _MARK.sub(blank, text)
    return _DEFINITION.sub(
        lambda found: " " * len(found[0]) if found["clear"] or found["note"] in cited else found[0], plain
    )


def _cites(before: str, match: re.Match[str], *, is_expected: bool) -> bool:
    """Whether a number in brackets is a reference, judged by what it follows."""
    if match["equation"]:
        return is_expected and _BEHIND_VALUE.search(before) is not None
    if not match["note"] or "^" in match["note"]:
        return not before.endswith("\n") and bool(before.strip())
    if before.rstrip(" ").endswith((":", "=")):
        return False
    is_behind_word = _BEHIND_WORD.search(before) is not None and _STATES.search(before) is None
    return _BEHIND_VALUE.search(before) is not None or (is_expected and is_behind_word)
