"""Sign-flip permutation test of paired differences with max-T over all heads.

If two students do not differ, each problem's difference is as likely to have the other sign. The largest |t| over heads
under random signs is what the largest |t| that was seen has to beat: the family-wise error over heads is controlled,
whatever their dependence (Westfall and Young, 1993; Nichols and Holmes, 2002).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]

_CHUNK = 500
"""Permutations at once, so that memory does not grow with their number."""
_ROUNDING = 1e-9
"""Of a ratio between 0 and 1."""


def max_t(differences: Array, *, permutations: int = 10_000, seed: int = 0) -> Array:
    """p-values adjusted for all heads, over problems only: other seeds of training may give other heads.

    All sign patterns are taken where there are no more than `permutations`, else as many random ones plus the observed.

    Args:
        differences: `[problem, ...]`, all finite: one student's minus the other's, problem by problem.
        permutations: How many at most.
        seed: Of the signs.

    Returns:
        p of each head, of the shape of one problem; 1 for heads that do not differ at all.
    """
    flat = differences.reshape(len(differences), -1)
    # The mean over the root mean square, which signs do not change, orders heads and draws as |t| does: with n problems
    # and this ratio r, t squared is (n - 1) r^2 / (1 - r^2). It needs no spread, which may be zero.
    size = np.sqrt((flat**2).mean(axis=0))
    scaled = flat / np.where(size > 0, size, 1.0) / len(flat)
    observed = np.abs(scaled.sum(axis=0))
    exceeded = np.zeros(flat.shape[1])
    total = 0
    for signs in _signs(len(flat), permutations, np.random.default_rng(seed)):
        largest = np.abs(signs @ scaled).max(axis=1)
        # The observed pattern is among them, and equals itself up to rounding.
        exceeded += (largest[:, None] >= observed - _ROUNDING).sum(axis=0)
        total += len(signs)
    p: Array = np.where(size > 0, exceeded / total, 1.0)
    return p.reshape(differences.shape[1:])


def _signs(problems: int, permutations: int, random: np.random.Generator) -> Iterator[Array]:
    """Sign patterns `[pattern, problem]` in chunks: all of them, or the one seen (all plus) and random ones."""
    if 2**problems <= permutations:
        yield 1.0 - 2.0 * ((np.arange(2**problems)[:, None] >> np.arange(problems)) & 1)
        return
    yield np.ones((1, problems))
    for start in range(0, permutations, _CHUNK):
        yield 1.0 - 2.0 * random.integers(0, 2, size=(min(_CHUNK, permutations - start), problems))
