"""Several answers to a problem: which they are, and an interval that does not take them for several problems."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kdprobe.comparison.answers import Outputs
from kdprobe.stats.clustered import clustered_accuracy_interval
from kdprobe.stats.intervals import Interval, accuracy_interval


def repeated_problems(outputs: Outputs) -> Sequence[str] | None:
    """The problem of each answer, by id or by question, whichever tells more apart; `None` if each has one answer."""
    known = [keys for keys in (outputs.ids, outputs.questions) if keys]
    problems = max(known, key=lambda keys: len(set(keys)), default=[])
    return problems if 1 < len(set(problems)) < len(outputs.responses) else None


def interval_over_problems(right: NDArray[np.bool_], problems: Sequence[str] | None) -> Interval:
    """The 95% interval of the accuracy, over problems.

    Args:
        right: Whether each answer is correct, `[answer]`.
        problems: The result of `repeated_problems`.
    """
    if problems is None:
        return accuracy_interval(int(right.sum()), len(right))
    return clustered_accuracy_interval(list(right), problems)


def repeat_notes(problems: Sequence[str] | None) -> list[str]:
    """How many problems the answers belong to, as a note for the reader; empty if each has one answer."""
    if problems is None:
        return []
    answers, different = len(problems), len(set(problems))
    return [f"The {answers} answers belong to {different} problems; the accuracy's interval is over problems."]
