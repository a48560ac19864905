"""The permutation test of a statistic that depends on which side is which in more than its sign.

If two sides do not differ, their answers to a problem may be swapped. The statistic is computed anew for each pattern
of swaps, including anything that was chosen by looking at one side, so the choice costs nothing in validity.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from kdprobe.stats.permutations.sign_flips import sign_patterns

Swaps = NDArray[np.bool_]
"""Whether the sides are swapped at each problem, `[pattern, n]`."""
_ROUNDING = 1e-9
_ENOUGH = 50


def label_swap_p(
    statistic: Callable[[Swaps], NDArray[np.float64]], n: int, *, permutations: int = 5_000, seed: int = 0
) -> float:
    """One-sided p-value: the share of patterns whose statistic is at least as large as without swaps.

    Uses all patterns if there are at most `permutations`, else that many random ones plus the one without swaps, or
    fewer: as soon as enough of them are at least as large, more would not make the p-value small (Besag and Clifford,
    1991).

    Args:
        statistic: The statistic of each pattern, `[pattern, n] -> [pattern]`.
        n: Number of problems at which the sides may be swapped.
        permutations: Maximum number of patterns.
        seed: Seed of the random patterns.
    """
    observed = float(statistic(np.zeros((1, n), dtype=bool))[0])
    exceeded = total = 0
    for signs in sign_patterns(n, permutations, np.random.default_rng(seed)):
        values = statistic(signs < 0)
        exceeded += int((values >= observed - _ROUNDING).sum())
        total += len(values)
        if exceeded >= _ENOUGH:
            break
    return exceeded / total
