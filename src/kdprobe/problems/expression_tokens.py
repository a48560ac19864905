r"""The tokens of calculations in running text, such as the left side of `3 apples * $2 = $6`.

Numbers (decimals, thousands separators, `2 1/2`, `\frac{1}{2}`), with currency, percent and up to four words of unit,
joined by `+ - * / ^` and their spellings.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

_TOKEN = re.compile(
    r"""
  [^\S\n]{0,40}+
  (?:
    # Most of an answer is words, so words are tried first; they then need not be tested against the other patterns.
    (?P<plain>(?!(?:multiplied[ ]by|times|divided[ ]by|plus|minus|equals|is|percent)\b)
      [^\W\d_]{1,40}(?:['\u2019/-][^\W\d_]{1,20}){0,3}\.?)
  | (?P<mark><<[^<>\n]{0,200}>>)
  | (?P<fraction>\\[dt]?frac\s?\{\d{1,20}\}\s?\{\d{1,20}\}|\d{1,6}[ ]\d{1,3}/\d{1,3}(?![\d./]))
  | (?P<number>
      (?:\d{1,3}(?:(?:,\d{3}){1,6}|(?:[ ]\d{3}){1,6})(?!\d)|\d{1,20}+(?!\d))(?:\.\d{1,20}+(?!\d))?
    | \.\d{1,20}+(?!\d)
    )
  | (?P<unit>(?<=\d)(?:[-/][^\W\d_]{1,30}){1,3})
  | (?P<times>\\times|\\cdot|\*(?!\*)|[\u00d7\u00b7\u2219\u22c5]|(?:multiplied[ ]by|times)\b)
  | (?P<divide>\\div|//?|÷|divided[ ]by\b)
  | (?P<plus>\+|plus\b)
  | (?P<minus>[-\u2212\u2013]|minus\b)
  | (?P<power>\^|\*\*)
  | (?P<equals>[=≈]|(?:equals|is)\b)
  | (?P<open>\()
  | (?P<close>\))
  | (?P<percent>\\?%|percent\b)
  | (?P<money>\\?[$€£])
  | (?P<word>[^\W\d_]{1,40}(?:['\u2019/-][^\W\d_]{1,20}){0,3}\.?)
  | (?P<line>\n)
  | (?P<other>\d{1,400}|\S)
  )
    """,
    re.VERBOSE | re.IGNORECASE,
)
_LATEX = re.compile(
    r"\^\{(?P<exponent>[ ]?\d{1,3}[ ]?)\}"
    r"|\\(?:text\w{0,4}|mbox|mathrm)\s?\{(?P<words>[^{}\n]{0,80})\}(?:\^(?:\d|\{\d\}))?"
    r"|(?:\\[,;:! ]|~)(?!\d)|\\left(?=\()|\\right(?=\))"
)
"""An exponent in braces, words such as units with their exponent, space, and the size of brackets."""
OPERATORS = {"times", "divide", "plus", "minus", "power"}
NUMBERS = {"number", "fraction"}
ENDS_OPERAND = {*NUMBERS, "percent", "close"}
_UNIT_LETTERS = {"m", "g", "h", "l", "s"}
"""Single letters that may be the unit of a number; any other letter is read as a variable."""
_MOST_WORDS = 4


class Token(NamedTuple):
    """A piece of text: its kind, as named in the pattern above, and its position."""

    kind: str
    text: str
    start: int
    end: int


def tokens_of(text: str) -> list[Token]:
    """The tokens of a text, without what does not matter to a calculation: spaces, currency, the units of numbers."""
    tokens = [
        Token("word" if kind == "plain" else kind, match[kind], *match.span(kind))
        for match in _TOKEN.finditer(_LATEX.sub(_without_latex, text))
        if (kind := match.lastgroup or "") != "money"
    ]
    for position, token in enumerate(tokens):
        # In "3 times * 5", "times" is a unit.
        spelled_out = token.kind == "times" and token.text.lower() == "times"
        if spelled_out and kind_at(tokens, position + 1) not in {*NUMBERS, "open"}:
            tokens[position] = token._replace(kind="word")
    kept: list[Token] = []
    position = 0
    while position < len(tokens):
        token = tokens[position]
        if token.kind in {"word", "unit"} and kept and kept[-1].kind in ENDS_OPERAND:
            stop = position
            while stop < len(tokens) and tokens[stop].kind in {"word", "unit"}:
                stop += 1
            if _is_raised_unit(tokens, position, stop, kept[-1]):
                position = stop + 2
                continue
            kept += _behind_operand(kept, tokens[position:stop], kind_at(tokens, stop))
            position = stop
        elif token.kind == "line" and position + 1 < len(tokens) and tokens[position + 1].kind == "equals":
            position += 1
        else:
            kept.append(token)
            position += 1
    return kept


def _without_latex(match: re.Match[str]) -> str:
    """What LaTeX wraps, with spaces instead of the wrapping, so that positions do not shift."""
    kind = match.lastgroup
    if kind is None:
        return " " * len(match[0])
    opening = "^ " if kind == "exponent" else " " * (match.start(kind) - match.start())
    return opening + match[kind] + " " * (match.end() - match.end(kind))


def _behind_operand(before: Sequence[Token], words: Sequence[Token], following: str) -> list[Token]:
    """How words right after an operand are read: an operator; nothing, if they are its unit; otherwise words."""
    *units, last = words
    word = last.text.lower()
    spaced = last.start > before[-1].end
    multiplies = word == "x" and following in ({*NUMBERS, "open", "minus"} if spaced or units else {*NUMBERS, "open"})
    if multiplies or (word == "of" and not units and following in NUMBERS and _is_a_part(before)):
        return [last._replace(kind="times")] if _are_units(units, before[-1]) else list(words)
    left_out = following in {*OPERATORS, "equals", "close"} and _are_units(words, before[-1])
    return [] if left_out else list(words)


def _is_raised_unit(tokens: Sequence[Token], begin: int, stop: int, before: Token) -> bool:
    """Whether words are a unit with an exponent, as in "18 cm^2"."""
    raised = kind_at(tokens, stop) == "power" and kind_at(tokens, stop + 1) == "number"
    return raised and tokens[stop].start == tokens[stop - 1].end and _are_units(tokens[begin:stop], before)


def _are_units(words: Sequence[Token], before: Token) -> bool:
    glued = bool(words) and words[0].start == before.end and len(words[0].text) == 1
    return len(words) <= _MOST_WORDS and not glued and not any(is_variable(word) for word in words)


def _is_a_part(before: Sequence[Token]) -> bool:
    """Whether the tokens end in a percentage or a fraction, so that "of" multiplies."""
    slash = len(before) > 1 and before[-2].kind == "divide" and before[-2].text == "/"
    return before[-1].kind in {"percent", "fraction"} or (slash and before[-1].kind == "number")


def is_variable(word: Token) -> bool:
    """Whether a word is a letter that stands for a number, not a unit."""
    letters = word.text.strip("-/.")
    return len(letters) == 1 and letters not in _UNIT_LETTERS


def kind_at(tokens: Sequence[Token], position: int) -> str:
    """The kind of a token; empty after the last one."""
    return tokens[position].kind if position < len(tokens) else ""
