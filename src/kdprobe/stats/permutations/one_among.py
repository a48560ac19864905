"""Permutation test of one unit among others like it, with max-T over all heads.

If the first unit is drawn as the others are, each of them is equally likely to stand out the most. The value of the
first in each head is compared with the largest value of every unit over all heads, which controls the family-wise error
over heads under any dependence, as `max_t` does.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]

_ROUNDING = 1e-9
"""Rounding error of a standardised value."""


def one_among(values: Array, smallest: Array | float = 0.0) -> Array:
    """p-values of the first unit's values, one-sided (larger), adjusted for all heads.

    A value counts as its difference from the mean of all units, over their standard deviation plus the smallest
    difference of interest. Without the latter, a trifle that a single unit has in some head would count as much as
    anything can (Tusher, Tibshirani and Chu, 2001, "Significance analysis of microarrays"). The first unit is included
    in mean and deviation, so that all units are treated alike. The smallest p is one over their number.

    Args:
        values: `[unit, ...]`, all finite.
        smallest: The smallest difference of interest, in the shape of one unit or for all heads.

    Returns:
        The p-value of each head, in the shape of one unit; 1 for heads in which units do not differ.
    """
    flat = values.reshape(len(values), -1)
    centred = flat - flat.mean(axis=0)
    spread = np.sqrt((centred**2).mean(axis=0))
    size = spread + np.broadcast_to(smallest, values.shape[1:]).ravel()
    scaled = np.where(spread > 0, centred / np.where(spread > 0, size, 1.0), 0.0)
    p: Array = (scaled.max(axis=1)[:, None] >= scaled[0] - _ROUNDING).mean(axis=0)
    return p.reshape(values.shape[1:])
