"""Small problems with known answers, no two alike."""

from __future__ import annotations

import re
from collections.abc import Iterator

from kdprobe.problems.problem import Problem


def problem_rows(first: int, count: int) -> list[dict[str, str]]:
    """Returns problems with GSM8K's fields; `first` shifts the numbers, so that no question occurs twice."""
    rows = []
    for index in range(first, first + count):
        apples, more = 3 + index, 2 + index % 5
        text = f"{apples} + {more} = <<{apples}+{more}={apples + more}>>{apples + more} apples."
        tail = " Count them all, one by one." * (index % 3)
        rows.append(
            {
                "question": f"Tom has {apples} apples and buys {more}. How many apples does he have?{tail}",
                # Lengths differ widely: a mean of means over micro-batches must not pass for a mean over tokens.
                "answer": f"{'He counts what he has. ' * (index % 3) * 2}Tom has {text}\n#### {apples + more}",
            }
        )
    return rows


def some_problems(count: int = 6, first: int = 0) -> list[Problem]:
    """Returns the problems of `problem_rows` as `Problem` records with the ids `p0`, `p1` and so on."""
    return [Problem.from_gsm8k(f"p{index}", row) for index, row in enumerate(problem_rows(first, count))]


def other_numbers(problem: Problem) -> Iterator[Problem]:
    """Counterfactuals of the problems above: the same text with different numbers."""
    for index, row in enumerate(problem_rows(0, 300)):
        other = Problem.from_gsm8k(f"{problem.id}-{index}", row)
        if other.value != problem.value and _words(other) == _words(problem):
            yield other


def _words(problem: Problem) -> list[str]:
    """What precedes, separates and follows the numbers of the question and its solution."""
    return re.split(r"\d+", problem.question + problem.plain_solution)


def telling_problems(count: int = 4) -> list[Problem]:
    """Problems with gold values that cannot occur by chance: if one appears in a text, it was copied."""
    problems = []
    for index in range(count):
        sheep, bought = 1_200_007 + 111_113 * index, 34_500_331
        row = {
            "question": f"A land has {sheep} sheep and {bought} more are born. How many sheep does it have? ({index})",
            "answer": f"Add them up: {sheep} + {bought} = {sheep + bought}.\n#### {sheep + bought}",
        }
        problems.append(Problem.from_gsm8k(f"telling-{index}", row))
    return problems
