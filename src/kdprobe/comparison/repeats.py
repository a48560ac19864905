"""Several answers to a problem: which they are, and an interval that does not take them for several problems."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdprobe.comparison.answers import Outputs
from kdprobe.stats.clustered import clustered_accuracy_interval
from kdprobe.stats.intervals import NO_INTERVAL, Interval, accuracy_interval


def repeated_problems(outputs: Outputs) -> Sequence[str] | None:
    """The problem of each answer, by id or by question, whichever tells more apart; `None` if each has one answer.

    A column that is the same in every row names a problem only if the gold answers are the same, too.
    """
    known = [keys for keys in (outputs.ids, outputs.questions) if keys]
    problems = max(known, key=lambda keys: len(set(keys)), default=[])
    different = len(set(problems))
    names_one = different == 1 and len(set(outputs.gold)) == 1
    return problems if (different > 1 or names_one) and different < len(outputs.responses) else None


def by_problem(values: NDArray[np.float64], problems: Sequence[str] | None) -> NDArray[np.float64]:
    """Sums over the answers to each problem, `[problem, ...]`.

    Args:
        values: `[answer, ...]`.
        problems: The result of `repeated_problems`.
    """
    if problems is None:
        return values
    codes = np.unique(np.asarray(problems), return_inverse=True)[1]
    sums = np.zeros((codes.max() + 1, *values.shape[1:]))
    np.add.at(sums, codes, values)
    return sums


def interval_over_problems(right: NDArray[np.bool_], problems: Sequence[str] | None) -> Interval:
    """The 95% interval of the accuracy, over problems; several answers to a single problem have none.

    Args:
        right: Whether each answer is correct, `[answer]`.
        problems: The result of `repeated_problems`.
    """
    if problems is None:
        return accuracy_interval(int(right.sum()), len(right))
    if len(set(problems)) == 1:
        return NO_INTERVAL
    return clustered_accuracy_interval(list(right), problems)


def repeat_notes(problems: Sequence[str] | None) -> list[str]:
    """How many problems the answers belong to, as a note for the reader; empty if each has one answer."""
    if problems is None:
        return []
    answers, different = len(problems), len(set(problems))
    if different == 1:
        return [f"The {answers} answers belong to 1 problem, which is too few for an interval."]
    return [f"The {answers} answers belong to {different} problems; intervals are over problems."]


def first_answers(outputs: Outputs) -> Outputs:
    """The first answer to each problem, with a note, if an evaluation tool gave several; else all answers."""
    if outputs.ids is None or outputs.epochs is None or len(set(outputs.ids)) == len(outputs.ids):
        return outputs
    first: dict[str, int] = {}
    for index in sorted(range(len(outputs.ids)), key=outputs.epochs.__getitem__):
        first.setdefault(outputs.ids[index], index)
    rows = sorted(first.values())
    columns = {each.name: getattr(outputs, each.name) for each in fields(outputs) if each.name != "notes"}
    kept: dict[str, Any] = {
        name: [cells[row] for row in rows] for name, cells in columns.items() if isinstance(cells, list)
    }
    note = f"Answers are paired by problem: of the {len(outputs.ids)} answers, the first to each problem is compared."
    return replace(outputs, notes=(*outputs.notes, note), **kept)
