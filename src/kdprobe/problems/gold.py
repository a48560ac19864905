r"""Reading gold answers: the value within a worked solution, and the number that a value is.

This is the one place for it: problem sources, the tasks, files of answers and comparisons all read gold text here.
"""

from __future__ import annotations

from fractions import Fraction
from itertools import islice

from kdprobe.problems.reading.calculations import worked_out
from kdprobe.problems.reading.labels import Labels
from kdprobe.problems.reading.marks import marks_in
from kdprobe.problems.reading.numbers import numbers_in, with_plain_digits
from kdprobe.problems.reading.statements import boxed_text, stated

GOLD_MARK = "####"
_KINDS = ("boxed", "final", "answer")


def gold_text(gold: str) -> str:
    r"""The value of a gold answer, as it is written.

    Args:
        gold: A value, or a solution that states it: after `####`, after a last line's `A:`, in `\boxed{}`, or behind
            "answer is", in this order.

    Returns:
        The value; all of the gold answer where it has no such mark, and nothing where nothing follows `####`.
    """
    if GOLD_MARK in gold:
        return gold.rpartition(GOLD_MARK)[2].strip()
    last = gold.rstrip().rpartition("\n")[2].strip()
    if last.startswith("A:"):
        return last.removeprefix("A:").strip()
    return _marked(gold) or gold.strip()


def _marked(gold: str) -> str | None:
    """What the last mark of the strongest kind states, or `None`."""
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


def gold_value(value: str) -> Fraction | None:
    """The exact value of a gold answer such as `1,200`, `-3`, `0.5` or `3/4`; `None` where it is not one number."""
    plain = with_plain_digits(value)
    numbers = list(islice(numbers_in(plain), 2))
    if not numbers:
        return None
    result = numbers[0] if len(numbers) == 1 else worked_out(plain, numbers[0], len(plain))
    return result.value if next(numbers_in(plain, result.end), None) is None else None
