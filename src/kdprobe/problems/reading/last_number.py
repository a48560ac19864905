"""The last number of an answer without a mark, less those that are names, or that were cut off."""

from __future__ import annotations

from kdprobe.problems.reading.calculations import ended_by
from kdprobe.problems.reading.labels import is_name, item_labels
from kdprobe.problems.reading.numbers import Number, numbers_in


def last_number(text: str) -> Number | None:
    """The last number of a text with plain digits, worked out where a calculation ends with it."""
    labels = item_labels(text)
    for number in reversed(list(numbers_in(text))):
        if number.start not in labels and not is_name(text, number):
            return ended_by(text, number)
    return None
