"""Sign-flip permutation test of paired differences with max-T over all heads.

If two students do not differ, each problem's difference is equally likely to have the opposite sign. Each observed |t|
is compared with the largest |t| over heads under random signs. This controls the family-wise error over heads under any
dependence (Westfall and Young, 1993; Nichols and Holmes, 2002).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdprobe.stats.permutations.sign_flips import sign_patterns

Array = NDArray[np.floating[Any]]

_ROUNDING = 1e-9
"""Rounding error of a ratio between 0 and 1."""


def max_t(differences: Array, *, permutations: int = 10_000, seed: int = 0) -> Array:
    """p-values adjusted for all heads. They generalise over problems only: other training seeds may give other heads.

    Uses all sign patterns if there are at most `permutations`, else that many random ones plus the observed one.

    Args:
        differences: `[problem, ...]`, all finite: one student's values minus the other's for each problem.
        permutations: Maximum number of permutations.
        seed: Seed of the random signs.

    Returns:
        The p-value of each head, in the shape of one problem; 1 for heads that do not differ at all.
    """
    flat = differences.reshape(len(differences), -1)
    # The mean over the root mean square, which signs do not change, gives the same order as |t|: with n problems and
    # this ratio r, t squared is (n - 1) r^2 / (1 - r^2). It avoids dividing by a spread that may be zero.
    size = np.sqrt((flat**2).mean(axis=0))
    scaled = flat / np.where(size > 0, size, 1.0) / len(flat)
    observed = np.abs(scaled.sum(axis=0))
    exceeded = np.zeros(flat.shape[1])
    total = 0
    for signs in sign_patterns(len(flat), permutations, np.random.default_rng(seed)):
        largest = np.abs(signs @ scaled).max(axis=1)
        # The observed pattern is included, and equals itself only up to rounding.
        exceeded += (largest[:, None] >= observed - _ROUNDING).sum(axis=0)
        total += len(signs)
    p: Array = np.where(size > 0, exceeded / total, 1.0)
    return p.reshape(differences.shape[1:])
