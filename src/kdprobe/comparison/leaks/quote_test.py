"""Which answers quote the priming, and whether more of them do than of the unprimed students' answers.

Ordinary runs of words do not count: those in more than 1% of the unprimed answers to the other problems. The answers
to a problem itself have no part in what counts there, so that neither side is favoured: otherwise a run that by chance
only the primed answers contain would be kept, and one that only the unprimed contain would be dropped.

Answers that share a run are not independent, since what is ordinary is chosen from the same answers. So the p-value is
not that of a sign test: the sides are swapped at random problems, the choice is made anew, and the excess compared.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kdprobe.stats.rates.label_swaps import Swaps, label_swap_p

ORDINARY = 0.01
"""Share of unprimed answers above which a run of words is ordinary."""
Held = NDArray[np.bool_]
"""Which runs of words each answer contains, `[seeds, n, gram]`."""


@dataclass(frozen=True, eq=False)
class QuoteTest:
    """Answers that quote the priming.

    Attributes:
        a: The runs in each primed answer that count as quotes, `[seeds, n, gram]`.
        b: Those in each unprimed answer.
        p: One-sided p-value of swapping the sides at problems.
    """

    a: Held
    b: Held
    p: float


def quote_test(a: Held, b: Held) -> QuoteTest:
    """Tests whether primed answers quote the priming more often than unprimed ones.

    Args:
        a: The runs in the answers of each primed student.
        b: Those in the answers of unprimed students, with the same seeds and problems in the same order.
    """
    counts = b.sum(axis=0)
    counted = counts.sum(axis=0) - counts <= ORDINARY * b.shape[0] * b.shape[1]
    kept_a, kept_b = a & counted, b & counted
    more = kept_a.any(axis=-1).sum() > kept_b.any(axis=-1).sum()
    return QuoteTest(kept_a, kept_b, _swap_p(a, b) if more else 1.0)


def ordinary(unprimed: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether each run of words is ordinary, `[gram]`, given the runs in unprimed answers, `[answer, gram]`."""
    return np.asarray(unprimed.sum(axis=0) > ORDINARY * len(unprimed))


def _swap_p(a: Held, b: Held) -> float:
    """Only problems and runs that occur matter; runs that always occur together are one."""
    touched = np.flatnonzero((a.any(axis=-1) | b.any(axis=-1)).any(axis=0))
    both = np.concatenate([a[:, touched], b[:, touched]])
    runs = np.unique(both.reshape(-1, both.shape[-1]), axis=1).reshape(*both.shape[:2], -1)
    left, right = runs[: len(a)], runs[len(a) :]
    sums = left.sum(axis=0), right.sum(axis=0)
    most = ORDINARY * a.shape[0] * a.shape[1]

    def excess(swaps: Swaps) -> NDArray[np.float64]:
        """Quoting answers of the first side minus those of the second, for each pattern."""
        unprimed = sums[1].sum(axis=0) + swaps.astype(float) @ (sums[0] - sums[1])
        signs = 1.0 - 2.0 * swaps
        total = np.zeros(len(swaps))
        for side, sign in ((left, 1), (right, -1)):
            seed, problem, gram = np.nonzero(side)
            if not len(seed):
                continue
            own = np.where(swaps[:, problem], sums[0][problem, gram], sums[1][problem, gram])
            kept = unprimed[:, gram] - own <= most
            starts = np.flatnonzero(np.diff(seed * len(touched) + problem, prepend=-1))
            total += sign * (np.logical_or.reduceat(kept, starts, axis=1) * signs[:, problem[starts]]).sum(axis=1)
        return total

    return label_swap_p(excess, len(touched))
