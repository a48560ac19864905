r"""Reads gold answers: the value in a worked solution, and its number.

Problem sources, tasks, files of answers and comparisons all read gold answers here.
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from itertools import islice

from kdprobe.problems.reading.algebra import is_in_algebra
from kdprobe.problems.reading.calculations import worked_out
from kdprobe.problems.reading.labels import Labels
from kdprobe.problems.reading.marks import marks_in
from kdprobe.problems.reading.numbers import numbers_in, with_plain_digits
from kdprobe.problems.reading.statements import boxed_text, stated

GOLD_MARK = "####"
_KINDS = ("boxed", "final", "answer")
_CACHED = 2_048


# Cached because every arm and every extractor asks about the same gold answers.
@lru_cache(maxsize=_CACHED)
def gold_text(gold: str) -> str:
    r"""The value of a gold answer, as written.

    Args:
        gold: A value, or a solution that states it: after `####`, after `A:` on the last line, in `\boxed{}`, or after
            "answer is", in this order.

    Returns:
        The value; the whole gold answer if it has no such mark, and an empty string if nothing follows `####`.
    """
    if GOLD_MARK in gold:
        return gold.rpartition(GOLD_MARK)[2].strip()
    last = gold.rstrip().rpartition("\n")[2].strip()
    if last.startswith("A:"):
        return last.removeprefix("A:").strip()
    return _marked(gold) or gold.strip()


def _marked(gold: str) -> str | None:
    """The value stated by the last mark of the strongest kind, or `None`."""
    plain = with_plain_digits(gold)
    marks = marks_in(plain)
    labels = Labels(plain)
    for kind in _KINDS:
        for mark in reversed(marks[kind]):
            statement = stated(plain, mark, labels)
            if statement and not statement.is_open and statement.number.value is not None:
                written = gold[statement.number.start : statement.number.end]
                return written if gold_value(written) == statement.number.value else str(statement.number.value)
            if kind == "boxed" and (content := boxed_text(plain, mark)):
                return content
    return None


@lru_cache(maxsize=_CACHED)
def gold_value(value: str) -> Fraction | None:
    """The exact value of a gold answer such as `1,200`, `-3`, `0.5` or `3/4`; `None` if it is not a single number."""
    plain = with_plain_digits(value)
    numbers = list(islice(numbers_in(plain), 2))
    if not numbers:
        return None
    result = numbers[0] if len(numbers) == 1 else worked_out(plain, numbers[0], len(plain))
    if is_in_algebra(plain, result, 0, len(plain), alone=True):
        return None
    return result.value if next(numbers_in(plain, result.end), None) is None else None
