"""The minimum needed for any conclusion: problems of a test, and seeds of a strategy."""

from __future__ import annotations

FEWEST_SEEDS = 3
"""The fewest seeds of a strategy that allow conclusions about it."""


def smallest_p(n: int, comparisons: int = 1) -> float:
    """The smallest p that McNemar's exact test can reach: one of two solves all n problems, the other none.

    Args:
        n: Number of problems.
        comparisons: Number of comparisons in the family; Holm's method multiplies the family's smallest p by it.
    """
    return min(1.0, comparisons * 2 * 0.5**n)
