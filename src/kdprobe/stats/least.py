"""The least that it takes before anything can be said: problems of a test, and students of a strategy."""

from __future__ import annotations

FEWEST_SEEDS = 3
"""Of a strategy, before anything is said about it."""


def smallest_p(n: int, comparisons: int = 1) -> float:
    """The smallest p that McNemar's exact test can give: one of two solves all n problems, the other none.

    Args:
        n: Problems.
        comparisons: In the family that Holm's method adjusts; the smallest p of a family is multiplied by their number.
    """
    return min(1.0, comparisons * 2 * 0.5**n)
