"""The arithmetic in an answer: which of the steps `a op b = c` that it states are right.

A student whose final values are nearly all wrong may still calculate well or badly; the share of right steps separates
such students. It does not say whether they were the steps that the problem needs.

Time is linear in the length of the text: one pass over its tokens, and each token is looked at again for the equals
signs on its two sides.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from kdprobe.problems.expression_tokens import Token, tokens_of
from kdprobe.problems.expression_values import rounded
from kdprobe.problems.expressions import Expression, beginning_at, decimals, ending_before, number_at

_EXACT_DECIMALS = 9


@dataclass(frozen=True)
class Step:
    """One calculation that an answer states.

    Attributes:
        expression: The left side, as written.
        stated: What it is said to be, as written: a number, or the calculation that follows.
        right: Whether that is so.
        where: Start and end of both in the text.
    """

    expression: str
    stated: str
    right: bool
    where: tuple[int, int]


@dataclass(frozen=True)
class Arithmetic:
    """What one answer calculates.

    Attributes:
        steps: How many different steps it states.
        right: How many of them are right.
    """

    steps: int
    right: int

    @property
    def share(self) -> float | None:
        """Of right steps; `None` where there are no steps."""
        return self.right / self.steps if self.steps else None


@lru_cache(maxsize=2**14)
def arithmetic(text: str, *, cut_off: bool = False) -> Arithmetic:
    """Counts the different steps of an answer, and the right ones; arguments as `arithmetic_steps`.

    A step that comes again counts once, or an answer that goes round in circles would outweigh all others. Counts are
    cached: the same answers are compared under several extractors.
    """
    different = {(step.expression, step.stated): step.right for step in arithmetic_steps(text, cut_off=cut_off)}
    return Arithmetic(len(different), sum(different.values()))


def arithmetic_steps(text: str, *, cut_off: bool = False) -> list[Step]:
    """Finds the calculations in an answer, and checks each.

    The left side must be a calculation of numbers only: one with a variable, that starts "half of", or that has no
    value is no step. A stated value with decimals is right when it is the exact one rounded half up to as many (or to
    nine, as calculators err behind those); a whole number must be exact. A percentage may be stated as `25%` or as
    `0.25`. Between two equals signs, as in `2 * 3 = 6 + 1 = 7`, a step is right if it equals all that stands there, or
    the number that it starts with. A calculation with one of GSM8K's marks, `48/2 = <<48/2=24>>24`, counts once, as the
    mark has it.

    Args:
        text: What a student wrote.
        cut_off: Whether the token budget ended it, so that a number at its very end may lack digits; a step that states
            such a number is left out.

    Returns:
        The steps, in the order of the text.
    """
    end = len(text.rstrip())
    return [step for step in _steps(text, 0) if not (cut_off and step.where[1] == end)]


def _steps(text: str, offset: int) -> Iterator[Step]:
    tokens = tokens_of(text)
    signs = [position for position, token in enumerate(tokens) if token.kind in {"equals", "mark"}]
    for index, position in enumerate(signs):
        if tokens[position].kind == "mark":
            yield from _steps(tokens[position].text[2:-2], offset + tokens[position].start + 2)
            continue
        first = signs[index - 1] + 1 if index else 0
        stop = signs[index + 1] if index + 1 < len(signs) else len(tokens)
        left = ending_before(tokens, position, first)
        if left is None or not left.calculates:
            continue
        if step := _step(text, offset, tokens[position], left, _sides(tokens, position + 1, stop)):
            yield step


def _sides(tokens: Sequence[Token], begin: int, stop: int) -> list[Expression]:
    """What an expression may be said to be: all that stands behind the sign, and the number that it starts with."""
    if begin < stop and tokens[begin].kind == "line":
        begin += 1
    whole = beginning_at(tokens, begin, stop)
    number = number_at(tokens, begin, stop) if whole else None
    return [side for side in (whole, number) if side is not None]


def _step(text: str, offset: int, sign: Token, left: Expression, sides: Sequence[Expression]) -> Step | None:
    if not left.values or not any(side.values for side in sides):
        return None
    # "3/4 full is 30": words may stand for an equals sign, but not behind a bare fraction.
    if sign.text.isalpha() and left.is_fraction:
        return None
    start, end = left.span
    stated_start, stated_end = sides[0].span
    # "9 / 27 * 100% = 33.3" and "= 33.3%" are both written.
    hundredfold = any(text[token.start - 3 : token.start] == "100" for token in left.tokens if token.kind == "percent")
    readings = left.values | ({value * 100 for value in left.values} if hundredfold else set())
    right = any(_states(side, exact) for side in sides for exact in readings)
    return Step(text[start:end], text[stated_start:stated_end], right, (offset + start, offset + stated_end))


def _states(side: Expression, exact: Fraction) -> bool:
    """Whether a side gives a value: exactly, or, where it is one number with decimals, rounded to as many."""
    if side.calculates:
        return exact in side.values
    percent = side.tokens[-1].kind == "percent"
    # "20 / 80 = 25%" and "20 / 80 * 100 = 25%" are both written.
    readings = {exact * 100, exact} if percent else {exact}
    digits = min(decimals(side), _EXACT_DECIMALS)
    stated = {value * 100 for value in side.values} if percent else side.values
    if digits:
        stated = {rounded(value, digits) for value in stated}
        readings = {rounded(reading, digits) for reading in readings}
    return not readings.isdisjoint(stated)
