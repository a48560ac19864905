"""The sign-flip test of a sum: if two students do not differ, each difference could as well have the other sign."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]

_PATTERNS = 20_000
"""Sign patterns that are drawn if the exact distribution cannot be computed."""
_CHUNK = 500
"""Patterns drawn at a time, so that memory does not grow with their number."""
_MANY = 2_000
"""With this many differences or more, a sum with random signs is normal to all digits that matter."""
_MOST_ADDITIONS = 10**8
"""Additions up to which a distribution is built up; it takes a tenth of a second."""
_MOST_UNITS = 2 * 10**6
"""The largest sum up to which a distribution is built up, in units of its differences; it takes 100 MB."""
_LARGEST = 2**40
"""The largest denominator in whose units differences are counted; more would be beyond the precision of floats."""
_ROUNDING = 1e-9
"""Differences and sums that agree to this are equal."""


def sign_flip_p(differences: NDArray[Any], denominator: int = 1) -> float:
    """Two-sided p of a sum of differences under random signs.

    Exact where possible: in units of the common denominator, the distribution of the sum is built up difference by
    difference, which covers all 2 ** n sign patterns. With differences of 1 and -1 it is McNemar's exact test. If the
    units are too small for that, all patterns are enumerated if there are at most 20,000; otherwise that many are
    drawn with a fixed seed, or, with thousands of differences that are not zero, the sum is taken to be normal.

    Args:
        differences: One per problem or per group of problems, `[n]`.
        denominator: A common denominator of all of them; 1 if they are integers.
    """
    values = settled(np.asarray(differences, dtype=float), denominator)
    values = values[values != 0]
    if not len(values):
        return 1.0
    if denominator <= _LARGEST:
        steps = np.rint(values * denominator).astype(np.int64)
        steps //= np.gcd.reduce(steps)
        units = int(np.abs(steps).sum())
        if units <= _MOST_UNITS and len(steps) * units <= _MOST_ADDITIONS:
            return _exact(steps)
    observed = abs(float(values.sum()))
    if len(values) > _MANY:
        return float(2 * scipy.stats.norm.sf(observed / np.sqrt((values**2).sum())))
    rounding = _ROUNDING * float(np.abs(values).sum())
    as_large = total = 0
    for signs in sign_patterns(len(values), _PATTERNS, np.random.default_rng(0)):
        as_large += int((np.abs(signs @ values) >= observed - rounding).sum())
        total += len(signs)
    return as_large / total


def settled(differences: NDArray[Any], denominator: int) -> NDArray[np.float64]:
    """Differences without the rounding errors of their computation, so that equal ones are equal and zeros are zero.

    Args:
        differences: `[n]`.
        denominator: A common denominator of all of them.
    """
    if denominator <= _LARGEST:
        return np.asarray(np.rint(differences * denominator) / denominator)
    return np.where(np.abs(differences) < _ROUNDING, 0.0, differences)


def sign_patterns(problems: int, permutations: int, random: np.random.Generator) -> Iterator[Array]:
    """Sign patterns `[pattern, problem]` in chunks: all of them, or the observed one (all plus) and random ones."""
    if 2**problems <= permutations:
        yield 1.0 - 2.0 * ((np.arange(2**problems)[:, None] >> np.arange(problems)) & 1)
        return
    yield np.ones((1, problems))
    for start in range(0, permutations, _CHUNK):
        yield 1.0 - 2.0 * random.integers(0, 2, size=(min(_CHUNK, permutations - start), problems))


def _exact(differences: NDArray[np.int64]) -> float:
    probabilities = np.ones(1)
    for step in np.abs(differences):
        convolved = np.zeros(len(probabilities) + 2 * step)
        convolved[: len(probabilities)] += probabilities / 2
        convolved[2 * step :] += probabilities / 2
        probabilities = convolved
    sums = np.abs(np.arange(len(probabilities)) - len(probabilities) // 2)
    return float(min(1.0, probabilities[sums >= abs(differences.sum())].sum()))
