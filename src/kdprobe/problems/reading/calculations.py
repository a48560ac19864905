"""Evaluates calculations in answers: a number that is part of one stands for the value after its last equals sign."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction

from kdprobe.problems.expression_tokens import ENDS_OPERAND, NUMBERS, OPERATORS, Token, kind_at, tokens_of
from kdprobe.problems.expressions import Expression, beginning_at, ending_before
from kdprobe.problems.reading.numbers import Number, first_number, numbers_in

_MAY_CALCULATE = re.compile(
    r"[-+*/=\u2212\u2013\u00d7\u00f7\u00b7\u2248^(x]|\\(?:times|cdot|div)|\b(?:plus|minus|times|divided|equals|is|of)\b",
    re.IGNORECASE,
)
_PERCENT = re.compile(r"\s?\\?%")
_MONEY = re.compile(r"\\?[$\u20ac\u00a3\u00a5\u20b9] ?$")
_WINDOW, _LONGEST = 200, 1_000
_SIGNS = frozenset("-\u2212\u2013")


def worked_out(text: str, number: Number, stop: int) -> Number:
    """The result of a calculation that begins with a number: `9 * 2 = 18` is 18, and so is `9 * 2`.

    Args:
        text: Text with plain digits.
        number: The number at its start.
        stop: Where to stop looking.
    """
    if not _MAY_CALCULATE.search(text, number.end, stop):
        return number
    start = number.start
    while start > 0 and text[start - 1] == "(" and text[start - 2 : start - 1] != "\\":
        start -= 1
    tokens = tokens_of(text[start:stop])
    result, begin = number, 0
    while side := beginning_at(tokens, begin, len(tokens)):
        begin += len(side.tokens)
        equation = kind_at(tokens, begin) == "equals"
        result = _of_side(text, start, side, is_alone=not equation and side.tokens[0] is tokens[0])
        if not equation:
            break
        begin += 1
    return result


def result_in(text: str, start: int, stop: int) -> Number | None:
    """The value after the last equals sign in a span of text, or before it if nothing follows."""
    tokens = tokens_of(text[start:stop])
    signs = [index for index, token in enumerate(tokens) if token.kind == "equals" and token.text.lower() != "is"]
    for sign in reversed(signs):
        if side := beginning_at(tokens, sign + 1, len(tokens)) or ending_before(tokens, sign, 0):
            return _of_side(text, start, side, is_alone=False)
    return None


def continued(text: str, first: Number, result: Number, stop: int) -> Number:
    """The result of a later equation, if that equation continues from the result: 72 in `48/2 = 24, then 48 + 24 = 72`.

    In `9 * 2 = 18, since 18 / 2 = 9`, the later equation checks the earlier one, whose result stays.

    Args:
        text: Text with plain digits.
        first: The number at the start of the earlier equation.
        result: Its result.
        stop: Where to stop looking.
    """
    if result.value is None or "=" not in text[first.end : result.start]:
        return result
    later = result_in(text, result.end, stop)
    if later is None or later.value is None:
        return result
    operands = {number.value for number in numbers_in(text, first.start, result.start)}
    used = {number.value for number in numbers_in(text, result.end, later.start)}
    return later if result.value in used and later.value not in operands else result


def ended_by(text: str, number: Number) -> Number:
    """The result of a calculation that ends with a number: 36 in `so 54 - 18 =`, and in `54 - 18 = 36` as well."""
    if number.value is None or text[number.start] in _SIGNS:
        return number
    line = max(text.rfind("\n", 0, number.start) + 1, number.end - _WINDOW)
    start = line if line == 0 or text[line - 1] == "\n" else text.find(" ", line, number.end) + 1 or number.start
    percent = _PERCENT.match(text, number.end)
    tokens = tokens_of(text[start : percent.end() if percent else number.end])
    side = ending_before(tokens, len(tokens), _behind_gap(tokens))
    if side is None or not side.calculates or start + side.span[0] >= number.start:
        return number
    before = tokens[len(tokens) - len(side.tokens) - 1] if len(side.tokens) < len(tokens) else None
    is_result = before is not None and before.kind == "equals" and before.text.lower() != "is"
    return _of_side(text, start, side, is_alone=not is_result)


def _behind_gap(tokens: Sequence[Token]) -> int:
    """The start of the numbers joined by operators: `28 + 23` in `13.00 $28.00 + $23.00`."""
    gaps = (
        i for i in range(len(tokens) - 1, 0, -1) if tokens[i].kind in NUMBERS and tokens[i - 1].kind in ENDS_OPERAND
    )
    return next(gaps, 0)


def _of_side(text: str, offset: int, side: Expression, *, is_alone: bool) -> Number:
    """The value of one side of an equation, or of a calculation on its own."""
    start, end = (offset + position for position in side.span)
    if not side.calculates:
        first = next((token for token in side.tokens if token.kind in {*NUMBERS, "minus"}), side.tokens[0])
        money = _MONEY.search(text, max(0, offset + first.start - 4), offset + first.start)
        begin = money.start() if money else offset + first.start
        number = first_number(text, begin, begin + _LONGEST)
        return number if number and number.start <= offset + first.start else Number(None, start, end)
    value = next(iter(side.values)) if len(side.values) == 1 else None
    unsafe = any(number.value is None for number in numbers_in(text, start, end))
    if unsafe or (is_alone and _is_range(side.tokens)):
        value = None
    return Number(_as_percent(value, side.tokens), start, end)


def _is_range(tokens: Sequence[Token]) -> bool:
    """Whether a lone `10 - 20` or `3% - 5%` is a range rather than a negative number."""
    plain = [token for token in tokens if token.kind != "percent"]
    if [token.kind for token in plain] != ["number", "minus", "number"]:
        return False
    low, _, high = (Expression((token,)).values for token in plain)
    return min(low) < max(high)


def _as_percent(value: Fraction | None, tokens: Sequence[Token]) -> Fraction | None:
    """Keeps a sum of percentages in percent: 40% - 32% is 8."""
    kinds = [token.kind for token in tokens]
    if value is None or "percent" not in kinds or not {"plus", "minus"}.issuperset({*kinds} & OPERATORS):
        return value
    return value * 100 if kinds.count("percent") == sum(kind in NUMBERS for kind in kinds) else None
