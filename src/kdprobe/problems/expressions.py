"""Finds the calculations in a text: the longest that end or begin at a token, and their values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import pairwise

from kdprobe.problems.expression_tokens import ENDS_OPERAND, NUMBERS, OPERATORS, Token, is_variable, kind_at
from kdprobe.problems.expression_values import value_of, with_fractions

_PURE = {*ENDS_OPERAND, *OPERATORS, "open"}
_CHANGES_WHAT_FOLLOWS = {"of", "half", "twice", "double", "triple", "thrice", "third", "quarter", "than"}
"""Words that change the value of the first number after them: "half of 6 + 4"."""
_MOST_TOKENS = 80


@dataclass(frozen=True)
class Expression:
    """A calculation, or a number alone: its tokens, which are only numbers, percent signs, operators and brackets."""

    tokens: tuple[Token, ...]

    @property
    def span(self) -> tuple[int, int]:
        """Start and end in the text."""
        return self.tokens[0].start, self.tokens[-1].end

    @property
    def calculates(self) -> bool:
        """Whether there is anything to calculate; a sign alone is not."""
        return any(token.kind in OPERATORS and before.kind in ENDS_OPERAND for before, token in pairwise(self.tokens))

    @cached_property
    def values(self) -> set[Fraction]:
        """The exact value; two for `7/12 / 1/12`, which may contain fractions; empty if there is no value."""
        joined = with_fractions(self.tokens)
        candidates = {value_of(self.tokens), value_of(joined) if 1 < len(joined) < len(self.tokens) else None}
        return {value for value in candidates if value is not None}

    @property
    def is_fraction(self) -> bool:
        """Whether it is only a fraction, `3/4`, which need not be a calculation."""
        return len(with_fractions(self.tokens)) == 1


def ending_before(tokens: Sequence[Token], stop: int, first: int) -> Expression | None:
    """The longest expression that ends right before a token.

    Args:
        tokens: The tokens of the whole text, from `tokens_of`.
        stop: Index of the token before which it ends.
        first: Index of the first token that may belong to it.

    Returns:
        The expression; `None` if there is none, or if something before it changes its meaning.
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
    """The longest expression that begins at one token and ends before another; see `ending_before`."""
    end, depth = begin, 0
    while end < stop and tokens[end].kind in _PURE:
        depth += {"open": 1, "close": -1}.get(tokens[end].kind, 0)
        if depth < 0:
            break
        end += 1
    if end > begin and _is_half_of_something(tokens, end):
        return None
    while end > begin and tokens[end - 1].kind in {*OPERATORS, "open"}:
        end -= 1
    return Expression(tuple(tokens[begin:end])) if 0 < end - begin <= _MOST_TOKENS else None


def number_at(tokens: Sequence[Token], begin: int, stop: int) -> Expression | None:
    """The number at a token, with its sign, its percent, and its denominator if written without spaces."""
    end = begin + (begin < stop and tokens[begin].kind == "minus")
    if end >= stop or tokens[end].kind not in NUMBERS:
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
    """Whether the text continues the expression that ends here, as in `5x`, `5 + x` or `16 and 2/3`."""
    if kind_at(tokens, end) not in {"word", "unit"}:
        return False
    if tokens[end].text.lower() in {"and", "r", "remainder"} and kind_at(tokens, end + 1) in {*NUMBERS, "open"}:
        return True
    goes_on = tokens[end].start == tokens[end - 1].end or tokens[end - 1].kind in OPERATORS
    return goes_on and is_variable(tokens[end])


def _behind_open_brackets(tokens: Sequence[Token], begin: int, stop: int) -> int:
    """The start of the part in which all brackets match."""
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
    """Whether a token changes the expression after it: to half of it, or to a part of a name or a time."""
    together = before.end == first.start
    if before.kind == "word":
        return together or before.text.lower() in _CHANGES_WHAT_FOLLOWS
    return together and before.kind == "other" and not before.text.isspace() and before.text in "_:#.,\\@&"


def decimals(expression: Expression) -> int:
    """Number of decimals in its last number, as written."""
    written = next((token.text for token in reversed(expression.tokens) if token.kind == "number"), "")
    return len(written.partition(".")[2])
