"""Several answers to a problem: finds those that belong together, and combines their values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdprobe.comparison.answers import Outputs
from kdprobe.stats.clustered import clustered_accuracy_interval
from kdprobe.stats.intervals import NO_INTERVAL, Interval, accuracy_interval


@dataclass(frozen=True)
class ByProblem:
    """The answers of one model by problem.

    Attributes:
        first: The answers with one row per problem: the first sample of each.
        problems: The index in `first` of each answer's problem, `[answer]`; `None` if each has one answer.
        answers: Number of answers to each problem, `[problem]`.
    """

    first: Outputs
    problems: NDArray[np.intp] | None
    answers: NDArray[np.intp]

    @property
    def samples(self) -> int:
        """Number of answers to each problem; if it differs, the largest."""
        return int(self.answers.max()) if len(self.answers) else 1

    @property
    def denominator(self) -> int:
        """A common denominator of all means over the answers to a problem."""
        return math.lcm(*map(int, np.unique(self.answers)))

    def identical(self, responses: Sequence[str]) -> bool:
        """Whether all answers to each problem are the same text; not if each has one answer, or if there is no text."""
        if self.problems is None or not any(responses):
            return False
        first = self.first.responses
        return all(text == first[problem] for text, problem in zip(responses, self.problems, strict=True))

    def sums(self, values: NDArray[Any]) -> NDArray[Any]:
        """Sums `[problem, ...]` of values `[answer, ...]` over each problem's answers; if it has one, the values."""
        return values if self.problems is None else _sums(values, self.problems)

    def means(self, values: NDArray[Any]) -> NDArray[Any]:
        """Means `[problem]` of values `[answer]` over each problem's answers; if it has one, the values."""
        return values if self.problems is None else self.sums(values) / self.answers


def by_problem(outputs: Outputs) -> ByProblem:
    """Groups samples of the same problem; answers that are not known to be samples stay on their own."""
    if outputs.samples is None:
        return ByProblem(outputs, None, np.ones(len(outputs.responses), dtype=np.intp))
    keys, first = outputs.keys, dict[str, int]()
    for row in sorted(range(len(keys)), key=outputs.samples.__getitem__):
        first.setdefault(keys[row], row)
    rows = sorted(first.values())
    places = {keys[row]: place for place, row in enumerate(rows)}
    problems = np.array([places[key] for key in keys], dtype=np.intp)
    columns = {each.name: getattr(outputs, each.name) for each in fields(outputs) if each.name != "notes"}
    kept: dict[str, Any] = {
        name: [cells[row] for row in rows] for name, cells in columns.items() if isinstance(cells, list)
    }
    return ByProblem(replace(outputs, **kept), problems, np.bincount(problems))


def repeated_problems(outputs: Outputs) -> Sequence[str] | None:
    """The problem of each answer, by id or question, whichever has more values; `None` if each has one answer.

    A column that is the same in every row names a problem only if the gold answers are also the same.
    """
    if outputs.samples is not None:
        return outputs.keys
    known = [keys for keys in (outputs.ids, outputs.questions) if keys]
    problems = max(known, key=lambda keys: len(set(keys)), default=[])
    different = len(set(problems))
    names_one = different == 1 and len(set(outputs.gold)) == 1
    return problems if (different > 1 or names_one) and different < len(outputs.responses) else None


def sums_by_problem(values: NDArray[np.float64], problems: Sequence[str] | None) -> NDArray[np.float64]:
    """Sums over the answers to each problem, `[problem, ...]`.

    Args:
        values: `[answer, ...]`.
        problems: The result of `repeated_problems`.
    """
    if problems is None:
        return values
    return _sums(values, np.unique(np.asarray(problems), return_inverse=True)[1])


def _sums(values: NDArray[Any], codes: NDArray[np.intp]) -> NDArray[np.float64]:
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


def repeat_notes(grouped: ByProblem, problems: Sequence[str] | None) -> list[str]:
    """How many problems the answers belong to, as a note for the reader; empty if each has one answer.

    Args:
        grouped: The samples of each problem.
        problems: The result of `repeated_problems`.
    """
    if problems is None:
        return []
    answers, different = len(problems), len(set(problems))
    if different == 1:
        return [f"The {answers} answers belong to 1 problem, which is too few for an interval."]
    counts = grouped.answers
    uneven = (
        f" Problems have between {counts.min()} and {counts.max()} answers each: the accuracy gives every answer the "
        "same weight; differences between arms give every problem the same weight."
        if counts.min() < counts.max()
        else ""
    )
    return [f"The {answers} answers belong to {different} problems; intervals are over problems.{uneven}"]
