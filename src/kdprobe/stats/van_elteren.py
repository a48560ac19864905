"""Association of head metrics with correctness, within strata: van Elteren's test for many heads at once.

Van Elteren, P. H. (1960), On the combination of independent two-sample tests of Wilcoxon.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Association:
    """The association of each head.

    Attributes:
        superiority: Probability that the value of a correct answer exceeds that of a wrong one in its stratum, with
            ties counting half.
        p: Two-sided p by the normal approximation with correction for ties; 1 if nothing can be compared.
        pairs: Number of pairs of a correct and a wrong answer within strata.
    """

    superiority: Array
    p: Array
    pairs: int


def van_elteren(values: Array, correct: NDArray[np.bool_], strata: NDArray[np.int64]) -> Association:
    """Compares correct with wrong answers within each stratum.

    Args:
        values: `[problem, head]`, finite.
        correct: Whether each problem was solved, `[problem]`.
        strata: The stratum of each problem, `[problem]`.
    """
    heads = values.shape[1]
    statistic, variance, wins, pairs = np.zeros(heads), np.zeros(heads), np.zeros(heads), 0
    for stratum in np.unique(strata):
        inside = strata == stratum
        right = correct[inside]
        m, n = int(right.sum()), int((~right).sum())
        if not m or not n:
            continue
        ranks = scipy.stats.rankdata(values[inside], axis=0)
        rank_sum = ranks[right].sum(axis=0)
        # With weights 1 / (N + 1), no stratum is favoured for its size (van Elteren).
        weight, middle = 1 / (m + n + 1), (m + n + 1) / 2
        statistic += weight * (rank_sum - m * middle)
        variance += weight**2 * m * n / ((m + n) * (m + n - 1)) * ((ranks - middle) ** 2).sum(axis=0)
        wins += rank_sum - m * (m + 1) / 2
        pairs += m * n
    with np.errstate(invalid="ignore", divide="ignore"):
        z = np.where(variance > 0, statistic / np.sqrt(variance), 0.0)
        superiority = wins / pairs if pairs else np.full(heads, np.nan)
    return Association(superiority, 2 * scipy.stats.norm.sf(np.abs(z)), pairs)


def length_strata(lengths: Array, count: int) -> NDArray[np.int64]:
    """Strata of about equal size, by quantiles of length; equal lengths stay together."""
    borders = np.quantile(lengths, np.linspace(0, 1, count + 1)[1:-1])
    strata: NDArray[np.int64] = np.searchsorted(borders, lengths, side="left").astype(np.int64)
    return strata
