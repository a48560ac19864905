"""The arithmetic in an answer: which of its steps `a op b = c` are correct.

A student whose final values are nearly all wrong may still calculate well or badly; the share of correct steps
separates such students. It does not say whether these are the steps that the problem needs.

Time is linear in the length of the text: one pass over its tokens, and a second look at each token for the equals signs
on either side.
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
    """One calculation stated in an answer.

    Attributes:
        expression: The left side, as written.
        stated: The right side, as written: a number, or another calculation.
        right: Whether the two are equal.
        where: Start and end of the step in the text.
    """

    expression: str
    stated: str
    right: bool
    where: tuple[int, int]


@dataclass(frozen=True)
class Arithmetic:
    """The steps of one answer.

    Attributes:
        steps: Number of distinct steps.
        right: Number of distinct correct steps.
    """

    steps: int
    right: int

    @property
    def share(self) -> float | None:
        """The share of correct steps; `None` if there are no steps."""
        return self.right / self.steps if self.steps else None


@lru_cache(maxsize=2**14)
def arithmetic(text: str, *, cut_off: bool = False) -> Arithmetic:
    """Counts the distinct steps of an answer, and the correct ones; arguments as in `arithmetic_steps`.

    A repeated step counts once; otherwise an answer that repeats itself would outweigh all others. Counts are cached,
    because the same answers are compared under several extractors.
    """
    different = {(step.expression, step.stated): step.right for step in arithmetic_steps(text, cut_off=cut_off)}
    return Arithmetic(len(different), sum(different.values()))


def arithmetic_steps(text: str, *, cut_off: bool = False) -> list[Step]:
    """Finds the calculations in an answer, and checks each.

    The left side must be a calculation with numbers only: one with a variable, one that starts with "half of", or one
    without a value is not a step. A stated value with decimals is correct if it is the exact value rounded half up to
    the same number of decimals (at most nine, because calculators are inexact beyond); a whole number must be exact. A
    percentage may be stated as `25%` or as `0.25`. Between two equals signs, as in `2 * 3 = 6 + 1 = 7`, a step is
    correct if it equals the whole expression there, or the number at its start. A calculation with one of GSM8K's
    annotations, `48/2 = <<48/2=24>>24`, counts once, as annotated.

    Args:
        text: The student's answer.
        cut_off: Whether the token budget ended it, so that a number at the very end may lack digits; a step that states
            such a number is ignored.

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
    """The possible right sides of a step: the whole expression after the sign, and the number at its start."""
    if begin < stop and tokens[begin].kind == "line":
        begin += 1
    whole = beginning_at(tokens, begin, stop)
    number = number_at(tokens, begin, stop) if whole else None
    return [side for side in (whole, number) if side is not None]


def _step(text: str, offset: int, sign: Token, left: Expression, sides: Sequence[Expression]) -> Step | None:
    if not left.values or not any(side.values for side in sides):
        return None
    # "3/4 full is 30": a word may act as an equals sign, but not after a bare fraction.
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
    """Whether a right side equals a value: exactly, or rounded to its decimals if it is a single number."""
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
