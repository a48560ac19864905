r"""Reading calculations that stand in running text, such as the left side of `3 apples * $2 = $6`, and their values.

Numbers (decimals, thousands separators, `2 1/2`, `\frac{1}{2}`), with currency, percent and up to four words of unit,
joined by `+ - * / ^` and their spellings. Values are exact fractions. No text is ever run as code.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

_TOKEN = re.compile(
    r"""
  [^\S\n]{0,40}+
  (?:
    # Most of an answer is words; tried first, they are not tried against everything else.
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
_OPERATORS = {"times", "divide", "plus", "minus", "power"}
_NUMBERS = {"number", "fraction"}
_ENDS_OPERAND = {*_NUMBERS, "percent", "close"}
_PURE = {*_ENDS_OPERAND, *_OPERATORS, "open"}
_BINDS = {"plus": 1, "minus": 1, "times": 2, "divide": 2, "sign": 3, "power": 4}
_UNIT_LETTERS = {"m", "g", "h", "l", "s"}
"""Of one letter, the words that may be the unit of a number; any other is taken for a variable."""
_CHANGES_WHAT_FOLLOWS = {"of", "half", "twice", "double", "triple", "thrice", "third", "quarter", "than"}
"""Words that make another number of the first one after them: "half of 6 + 4"."""
_MOST_WORDS = 4
_MOST_TOKENS = 80
_MOST_POWER = 12


class Token(NamedTuple):
    """A piece of text: its kind, as the pattern above calls it, and its position."""

    kind: str
    text: str
    start: int
    end: int


@dataclass(frozen=True)
class Expression:
    """A calculation, or a number alone: its tokens, all of them pure."""

    tokens: tuple[Token, ...]

    @property
    def span(self) -> tuple[int, int]:
        """Start and end in the text."""
        return self.tokens[0].start, self.tokens[-1].end

    @property
    def calculates(self) -> bool:
        """Whether there is anything to work out; a sign alone is nothing."""
        return any(token.kind in _OPERATORS and before.kind in _ENDS_OPERAND for before, token in pairwise(self.tokens))

    @cached_property
    def values(self) -> set[Fraction]:
        """The exact value; two in `7/12 / 1/12`, where a fraction may be meant; none where there is no value."""
        joined = _with_fractions(self.tokens)
        candidates = {_value(self.tokens), _value(joined) if 1 < len(joined) < len(self.tokens) else None}
        return {value for value in candidates if value is not None}

    @property
    def is_fraction(self) -> bool:
        """Whether it is nothing but a fraction, `3/4`, which need not be a calculation."""
        return len(_with_fractions(self.tokens)) == 1


def tokens_of(text: str) -> list[Token]:
    """The tokens of a text, less what plays no part in a calculation: spaces, currency, the units of numbers."""
    tokens = [
        Token("word" if kind == "plain" else kind, match[kind], *match.span(kind))
        for match in _TOKEN.finditer(text)
        if (kind := match.lastgroup or "") != "money"
    ]
    for position, token in enumerate(tokens):
        # In "3 times * 5" it is a unit.
        spelled_out = token.kind == "times" and token.text.lower() == "times"
        if spelled_out and _kind(tokens, position + 1) not in {*_NUMBERS, "open"}:
            tokens[position] = token._replace(kind="word")
    kept: list[Token] = []
    position = 0
    while position < len(tokens):
        token = tokens[position]
        if token.kind in {"word", "unit"} and kept and kept[-1].kind in _ENDS_OPERAND:
            stop = position
            while stop < len(tokens) and tokens[stop].kind in {"word", "unit"}:
                stop += 1
            kept += _behind_operand(kept, tokens[position:stop], _kind(tokens, stop))
            position = stop
        elif token.kind == "line" and position + 1 < len(tokens) and tokens[position + 1].kind == "equals":
            position += 1
        else:
            kept.append(token)
            position += 1
    return kept


def _behind_operand(before: Sequence[Token], words: Sequence[Token], following: str) -> list[Token]:
    """What is left of words right behind an operand: an operator, nothing where they are its unit, else the words."""
    *units, last = words
    word = last.text.lower()
    spaced = last.start > before[-1].end
    multiplies = word == "x" and following in ({*_NUMBERS, "open", "minus"} if spaced or units else {*_NUMBERS, "open"})
    if multiplies or (word == "of" and not units and following in _NUMBERS and _is_a_part(before)):
        return [last._replace(kind="times")] if _are_units(units, before[-1]) else list(words)
    left_out = following in {*_OPERATORS, "equals", "close"} and _are_units(words, before[-1])
    return [] if left_out else list(words)


def _are_units(words: Sequence[Token], before: Token) -> bool:
    glued = bool(words) and words[0].start == before.end and len(words[0].text) == 1
    return len(words) <= _MOST_WORDS and not glued and not any(_is_variable(word) for word in words)


def _is_a_part(before: Sequence[Token]) -> bool:
    """Whether what was just read is a percentage or a fraction, of which something else is taken."""
    slash = len(before) > 1 and before[-2].kind == "divide" and before[-2].text == "/"
    return before[-1].kind in {"percent", "fraction"} or (slash and before[-1].kind == "number")


def _is_variable(word: Token) -> bool:
    letters = word.text.strip("-/.")
    return len(letters) == 1 and letters not in _UNIT_LETTERS


def _kind(tokens: Sequence[Token], position: int) -> str:
    return tokens[position].kind if position < len(tokens) else ""


def ending_before(tokens: Sequence[Token], stop: int, first: int) -> Expression | None:
    """The longest expression that ends right before a token.

    Args:
        tokens: Of the whole text, from `tokens_of`.
        stop: Index of the token that it ends before.
        first: Index of the first token that may belong to it.

    Returns:
        The expression; `None` where there is none, or where something before it changes what it means.
    """
    begin = stop
    while begin > first and tokens[begin - 1].kind in _PURE:
        begin -= 1
    begin = _behind_open_brackets(tokens, begin, stop)
    if begin < stop and tokens[begin].kind in {"times", "divide", "power", "percent"}:
        return None
    if begin < stop and tokens[begin].kind in {"plus", "minus"}:
        # "- 5 + 3" on a line of its own is an item of a list; "-5 + 3" begins with a sign; "profit - 5" is neither.
        if begin > first and tokens[begin - 1].kind not in {"line", "open"}:
            return None
        if begin + 1 < stop and tokens[begin].end < tokens[begin + 1].start:
            begin += 1
    if begin == stop or stop - begin > _MOST_TOKENS:
        return None
    if begin > first and _changes(tokens[begin - 1], tokens[begin]):
        return None
    return Expression(tuple(tokens[begin:stop]))


def beginning_at(tokens: Sequence[Token], begin: int, stop: int) -> Expression | None:
    """The longest expression from one token to another at most; as `ending_before` otherwise."""
    end, depth = begin, 0
    while end < stop and tokens[end].kind in _PURE:
        depth += {"open": 1, "close": -1}.get(tokens[end].kind, 0)
        if depth < 0:
            break
        end += 1
    if end > begin and _is_half_of_something(tokens, end):
        return None
    while end > begin and tokens[end - 1].kind in {*_OPERATORS, "open"}:
        end -= 1
    return Expression(tuple(tokens[begin:end])) if 0 < end - begin <= _MOST_TOKENS else None


def number_at(tokens: Sequence[Token], begin: int, stop: int) -> Expression | None:
    """The number at a token, with its sign, its percent, and its denominator where both are written together."""
    end = begin + (begin < stop and tokens[begin].kind == "minus")
    if end >= stop or tokens[end].kind not in _NUMBERS:
        return None
    end += 1
    if end + 1 < stop and tokens[end].text == "/" and tokens[end + 1].kind == "number":
        together = tokens[end - 1].end == tokens[end].start and tokens[end].end == tokens[end + 1].start
        end += 2 * together
    end += end < stop and tokens[end].kind == "percent"
    if _is_half_of_something(tokens, end):
        return None
    return Expression(tuple(tokens[begin:end]))


def _is_half_of_something(tokens: Sequence[Token], end: int) -> bool:
    """Whether what ends here goes on as `5x`, `5 + x`, or `16 and 2/3`."""
    if _kind(tokens, end) not in {"word", "unit"}:
        return False
    if tokens[end].text.lower() in {"and", "r", "remainder"} and _kind(tokens, end + 1) in {*_NUMBERS, "open"}:
        return True
    goes_on = tokens[end].start == tokens[end - 1].end or tokens[end - 1].kind in _OPERATORS
    return goes_on and _is_variable(tokens[end])


def _behind_open_brackets(tokens: Sequence[Token], begin: int, stop: int) -> int:
    """Where the part begins whose brackets are all closed, and opened."""
    opened: list[int] = []
    for position in range(begin, stop):
        if tokens[position].kind == "open":
            opened.append(position)
        elif tokens[position].kind == "close":
            if opened:
                opened.pop()
            else:
                begin = position + 1
    return max(begin, opened[-1] + 1) if opened else begin


def _changes(before: Token, first: Token) -> bool:
    """Whether a token makes something else of the expression after it: half of it, or a part of a name or a time."""
    together = before.end == first.start
    if before.kind == "word":
        return together or before.text.lower() in _CHANGES_WHAT_FOLLOWS
    return together and before.kind == "other" and not before.text.isspace() and before.text in "_:#.,\\@&"


def _value(tokens: Sequence[Token]) -> Fraction | None:
    try:
        return _evaluate(tokens)
    except (ArithmeticError, IndexError):
        return None


def _with_fractions(tokens: Sequence[Token]) -> list[Token]:
    """The tokens, with every `3/4` that is written together as one."""
    joined: list[Token] = []
    for token in tokens:
        if token.kind == "number" and len(joined) > 1 and joined[-1].text == "/" and joined[-2].kind == "number":
            above, stroke = joined[-2:]
            together = above.end == stroke.start and stroke.end == token.start
            if together and above.text.isdecimal() and token.text.isdecimal():
                joined[-2:] = [Token("fraction", f"{above.text}/{token.text}", above.start, token.end)]
                continue
        joined.append(token)
    return joined


def _evaluate(tokens: Sequence[Token]) -> Fraction:
    """The value of an expression, by Dijkstra's two stacks.

    Raises:
        ArithmeticError: Division by zero, an unreasonable power, or no expression.
        IndexError: No expression: an operator lacks an operand.
    """
    values: list[Fraction] = []
    operators: list[str] = []

    def reduce(least: int) -> None:
        while operators and operators[-1] != "open" and _BINDS[operators[-1]] >= least:
            operator = operators.pop()
            right = values.pop()
            values.append(-right if operator == "sign" else _apply(operator, values.pop(), right))

    after_operand = False
    for position, token in enumerate(tokens):
        kind = token.kind
        if after_operand and kind in {*_NUMBERS, "open"}:
            # "2(3 + 4)" multiplies; "2 3" is no expression.
            if kind != "open" or tokens[position - 1].end != token.start:
                raise ArithmeticError("two operands without an operator")
            reduce(_BINDS["times"])
            operators.append("times")
            after_operand = False
        if kind in _NUMBERS:
            values.append(_number(token))
            after_operand = True
        elif kind == "open":
            operators.append(kind)
        elif kind == "close":
            reduce(0)
            operators.pop()
        elif kind == "percent":
            values.append(values.pop() / 100)
        elif not after_operand:
            if kind not in {"plus", "minus"}:
                raise ArithmeticError("an operator without an operand")
            operators += ["sign"] if kind == "minus" else []
        else:
            # Powers are taken from the right; nobody writes two of them in a word problem.
            reduce(_BINDS[kind])
            operators.append(kind)
            after_operand = False
    if not after_operand:
        raise ArithmeticError("an operand is missing at the end")
    reduce(0)
    if operators or len(values) != 1:
        raise ArithmeticError("unbalanced")
    return values[0]


def _apply(operator: str, left: Fraction, right: Fraction) -> Fraction:
    match operator:
        case "plus":
            return left + right
        case "minus":
            return left - right
        case "times":
            return left * right
        case "divide":
            return left / right
        case _:
            if right.denominator != 1 or abs(right) > _MOST_POWER or len(str(left)) > _MOST_TOKENS:
                raise ArithmeticError("an unreasonable power")
            return left**right.numerator


def _number(token: Token) -> Fraction:
    if token.kind == "number":
        written = re.sub("[, ]", "", token.text)
        return Fraction(int(written)) if written.isdecimal() else Fraction(written)
    *whole, above, below = re.findall(r"\d+", token.text)
    return Fraction(*map(int, whole or ["0"])) + Fraction(int(above), int(below))


def decimals(expression: Expression) -> int:
    """How many decimals its last number is written with."""
    written = next((token.text for token in reversed(expression.tokens) if token.kind == "number"), "")
    return len(written.partition(".")[2])


def rounded(value: Fraction, digits: int) -> Fraction:
    """A value rounded half up, away from zero, to this many decimals."""
    scale = 10**digits
    nearest = Fraction(math.floor(abs(value) * scale + Fraction(1, 2)), scale)
    return nearest if value >= 0 else -nearest
