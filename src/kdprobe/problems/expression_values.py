"""The values of calculations, as exact fractions. No text is ever run as code."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from fractions import Fraction

from kdprobe.problems.expression_tokens import NUMBERS, Token

_BINDS = {"plus": 1, "minus": 1, "times": 2, "divide": 2, "sign": 3, "power": 4}
_MOST_DIGITS = 80
_MOST_POWER = 12


def value_of(tokens: Sequence[Token]) -> Fraction | None:
    """The exact value of an expression; `None` if it has none."""
    try:
        return _evaluate(tokens)
    except (ArithmeticError, IndexError):
        return None


def with_fractions(tokens: Sequence[Token]) -> list[Token]:
    """The tokens, with every `3/4` written without spaces joined into one token."""
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
    """The value of an expression, by Dijkstra's two-stack algorithm.

    Raises:
        ArithmeticError: Division by zero, an unreasonable power, or not an expression.
        IndexError: Not an expression: an operator lacks an operand.
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
        if after_operand and kind in {*NUMBERS, "open"}:
            # "2(3 + 4)" multiplies; "2 3" is not an expression.
            if kind != "open" or tokens[position - 1].end != token.start:
                raise ArithmeticError("two operands without an operator")
            reduce(_BINDS["times"])
            operators.append("times")
            after_operand = False
        if kind in NUMBERS:
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
            # Powers should associate to the right, but nobody writes two in a row in a word problem.
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
            if right.denominator != 1 or abs(right) > _MOST_POWER or len(str(left)) > _MOST_DIGITS:
                raise ArithmeticError("an unreasonable power")
            return left**right.numerator


def _number(token: Token) -> Fraction:
    if token.kind == "number":
        written = re.sub("[, ]", "", token.text)
        return Fraction(int(written)) if written.isdecimal() else Fraction(written)
    *whole, above, below = re.findall(r"\d+", token.text)
    return Fraction(*map(int, whole or ["0"])) + Fraction(int(above), int(below))


def rounded(value: Fraction, digits: int) -> Fraction:
    """A value rounded half up, away from zero, to this many decimals."""
    scale = 10**digits
    nearest = Fraction(math.floor(abs(value) * scale + Fraction(1, 2)), scale)
    return nearest if value >= 0 else -nearest
