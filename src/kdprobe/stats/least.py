"""The minimum needed for any conclusion: problems of a test, and seeds of a strategy."""

from __future__ import annotations

from itertools import count

from kdprobe.stats.p_values import SIGNIFICANT

FEWEST_SEEDS = 3
"""The fewest seeds of a strategy that allow conclusions about it."""


def smallest_p(n: int, comparisons: int = 1) -> float:
    """The smallest p of a two-sided exact test over problems: all n of them differ in the same direction.

    This is so for McNemar's test and for sign flips.

    Args:
        n: Number of problems.
        comparisons: Number of comparisons in the family; Holm's method multiplies the family's smallest p by it.
    """
    return min(1.0, comparisons * 2 * 0.5**n)


def fewest_problems(comparisons: int = 1) -> int:
    """The fewest problems with which `smallest_p` is significant."""
    return next(n for n in count(1) if smallest_p(n, comparisons) < SIGNIFICANT)


FEWEST_PROBLEMS = fewest_problems()
"""The fewest problems whose smallest and largest values enclose the true median at least 95% of the time: 6."""
