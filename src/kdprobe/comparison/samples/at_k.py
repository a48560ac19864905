"""pass@k and maj@k of sampled answers, and their differences between two students on the same problems."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kdprobe.comparison.samples.by_problem import ByProblem
from kdprobe.stats.intervals import Interval
from kdprobe.stats.permutations.sign_flips import sign_flip_p
from kdprobe.stats.samples.at_k import MOST_ANSWERS, majority_at, pass_at, shown_ks
from kdprobe.stats.samples.means import means_interval, share_interval

NO_VALUE = -1
"""The vote of an answer without a value."""


@dataclass(frozen=True)
class AtK:
    """pass@k or maj@k of one student.

    Attributes:
        measure: `pass@k` or `maj@k`, with the number for k.
        value: Mean over problems.
        interval: 95% interval of the mean, over problems.
    """

    measure: str
    value: float
    interval: Interval


@dataclass(frozen=True)
class AtKDifference:
    """The difference in pass@k or maj@k between two students, on the problems they share.

    Attributes:
        measure: As in `AtK`.
        difference: That of a minus that of b.
        interval: 95% interval of the difference, paired by problem.
        p: Two-sided p of the sign-flip test over problems, not adjusted for the number of measures or pairs.
    """

    measure: str
    difference: float
    interval: Interval
    p: float


@dataclass(frozen=True)
class ProblemValues:
    """A measure on every problem, `[problem]`, and a common denominator of its values."""

    values: NDArray[np.float64]
    denominator: int


AtProblems = Mapping[str, ProblemValues]
"""The value of each measure on each problem; empty if problems have one answer."""


def at_problems(grouped: ByProblem, right: NDArray[np.bool_], votes: NDArray[np.int64] | None) -> AtProblems:
    """pass@k and maj@k of each problem; empty if each has one answer.

    Args:
        grouped: The answers by problem.
        right: Whether each answer is correct, `[answer]`.
        votes: A number for the value of each answer, the same for equal values, or `NO_VALUE`, `[answer]`. `None` if
            there are no values, and so no maj@k.
    """
    if grouped.problems is None:
        return {}
    ks = [k for k in shown_ks(int(grouped.answers.min())) if k > 1]
    correct, sizes = grouped.sums(right), {int(size) for size in grouped.answers}
    subsets = {k: math.lcm(*(math.comb(size, k) for size in sizes)) for k in ks}
    found = {f"pass@{k}": ProblemValues(pass_at(correct, grouped.answers, k), subsets[k]) for k in ks}
    if votes is not None and max(sizes) <= MOST_ANSWERS:
        of_problems = majorities(grouped.problems, len(grouped.answers), right, votes)
        for k in ks:
            values = np.array([shares[k - 1] for shares in of_problems])
            # A tie among t values counts 1 / t.
            found[f"maj@{k}"] = ProblemValues(values, subsets[k] * math.lcm(*range(1, k + 1)))
    return found


def at_k(problems: AtProblems) -> list[AtK]:
    """The means over problems."""
    return [AtK(measure, float(each.values.mean()), share_interval(each.values)) for measure, each in problems.items()]


def at_k_measures(students: Iterable[Sequence[AtK]]) -> list[str]:
    """The measures that any of these students has: pass@k, then maj@k, each by k."""
    measures = {each.measure for student in students for each in student}
    return sorted(measures, key=lambda measure: (measure.startswith("maj"), int(measure.partition("@")[2])))


def at_k_differences(a: AtProblems, b: AtProblems, rows: Sequence[NDArray[np.intp]]) -> list[AtKDifference]:
    """The differences in the measures that both students have.

    Args:
        a: The measures of the first student.
        b: Those of the second.
        rows: The rows of the shared problems in the first and in the second.
    """
    found = []
    for measure in (measure for measure in a if measure in b):
        each = a[measure].values[rows[0]] - b[measure].values[rows[1]]
        p = sign_flip_p(each, math.lcm(a[measure].denominator, b[measure].denominator))
        found.append(AtKDifference(measure, float(each.mean()), means_interval(each), p))
    return found


def majorities(
    problems: NDArray[np.intp], count: int, right: NDArray[np.bool_], votes: NDArray[np.int64]
) -> list[NDArray[np.float64]]:
    """maj@k of each problem for every k up to its number of answers.

    Args:
        problems: The index of each answer's problem, `[answer]`.
        count: Number of problems.
        right: Whether each answer is correct, `[answer]`.
        votes: As in `at_problems`.
    """
    given: list[Counter[int]] = [Counter() for _ in range(count)]
    correct: list[Counter[int]] = [Counter() for _ in range(count)]
    for problem, is_right, vote in zip(problems.tolist(), right.tolist(), votes.tolist(), strict=True):
        given[problem][vote] += 1
        correct[problem][vote] += is_right
    return [
        majority_at([(n, of[value]) for value, n in values.items() if value != NO_VALUE], values[NO_VALUE])
        for values, of in zip(given, correct, strict=True)
    ]
