"""Finding the calculations in a text: the longest that end or begin at a token, and their values."""

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
"""Words that make another number of the first one after them: "half of 6 + 4"."""
_MOST_TOKENS = 80


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
        return any(token.kind in OPERATORS and before.kind in ENDS_OPERAND for before, token in pairwise(self.tokens))

    @cached_property
    def values(self) -> set[Fraction]:
        """The exact value; two in `7/12 / 1/12`, where a fraction may be meant; none where there is no value."""
        joined = with_fractions(self.tokens)
        candidates = {value_of(self.tokens), value_of(joined) if 1 < len(joined) < len(self.tokens) else None}
        return {value for value in candidates if value is not None}

    @property
    def is_fraction(self) -> bool:
        """Whether it is nothing but a fraction, `3/4`, which need not be a calculation."""
        return len(with_fractions(self.tokens)) == 1


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
    while end > begin and tokens[end - 1].kind in {*OPERATORS, "open"}:
        end -= 1
    return Expression(tuple(tokens[begin:end])) if 0 < end - begin <= _MOST_TOKENS else None


def number_at(tokens: Sequence[Token], begin: int, stop: int) -> Expression | None:
    """The number at a token, with its sign, its percent, and its denominator where both are written together."""
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
    """Whether what ends here goes on as `5x`, `5 + x`, or `16 and 2/3`."""
    if kind_at(tokens, end) not in {"word", "unit"}:
        return False
    if tokens[end].text.lower() in {"and", "r", "remainder"} and kind_at(tokens, end + 1) in {*NUMBERS, "open"}:
        return True
    goes_on = tokens[end].start == tokens[end - 1].end or tokens[end - 1].kind in OPERATORS
    return goes_on and is_variable(tokens[end])


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


def decimals(expression: Expression) -> int:
    """How many decimals its last number is written with."""
    written = next((token.text for token in reversed(expression.tokens) if token.kind == "number"), "")
    return len(written.partition(".")[2])
