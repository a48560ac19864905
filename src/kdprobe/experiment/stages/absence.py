"""What replaces the records of a student that could not be evaluated: a result like any other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from kdprobe.errors import NonFiniteError
from kdprobe.experiment.stages.distill import diverged
from kdprobe.files import read_json, write_json

ABSENT = "absent.json"
"""Replaces the records of a student whose training diverged or whose evaluation overflowed, and says why."""
OVERFLOWED = "overflowed"
"""In `absent.json`: training succeeded, but the evaluation produced NaN or infinite numbers."""
Records = list[dict[str, Any]]
"""One for each problem or document, in order."""


def records_or_absence(folder: Path, inputs: list[Path], answer: Callable[[], Records]) -> Records | None:
    """The records of an evaluation; `None` once it has been recorded that there are none.

    Args:
        folder: The folder of the evaluation's stage.
        inputs: The folders of the stages that made the student: its training, or nothing.
        answer: Evaluates the student.

    Raises:
        NonFiniteError: A model that was not trained here produced NaN or infinite numbers.
    """
    if inputs and (found := diverged(inputs[0])):
        write_json(folder / ABSENT, found)
        return None
    try:
        return answer()
    except NonFiniteError as error:
        if not inputs:
            # This model was not trained here, so there is no result to record: its dtype is the wrong one.
            raise
        # A result like any other: the same student would overflow again.
        write_json(folder / ABSENT, {OVERFLOWED: True, "reason": error.message, "hint": error.hint})
        return None


def overflowed(folder: Path) -> dict[str, Any] | None:
    """`reason` and `hint` of an evaluation with NaN or infinite numbers; otherwise `None`.

    Args:
        folder: The folder of the evaluation stage.
    """
    found = read_json(folder / ABSENT) if (folder / ABSENT).is_file() else {}
    return found if OVERFLOWED in found else None


def overflow_sentence(found: Mapping[str, Any]) -> str:
    """A phrase for such an evaluation, to be placed after the student's name; ends with a full sentence."""
    return f"overflowed during evaluation: {found['reason']}"
