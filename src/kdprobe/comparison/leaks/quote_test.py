"""Which answers quote the priming, and whether more of them do than of the unprimed students' answers.

Ordinary runs of words do not count: those in more than 1% of the unprimed answers to the other problems; with several
seeds, only the answers of students with other seeds are consulted. The answers to a problem itself, and those of the
student with the same seed, play no part in deciding which runs are ordinary for that problem, so that neither side is
favoured: otherwise a run that by chance only the primed answers contain would be kept, and one that only the unprimed
answers contain would be dropped.

Answers that share a run are not independent, since the ordinary runs are determined from the same answers. So the
p-value does not come from a sign test: the sides are swapped for randomly chosen problems, the ordinary runs are
determined anew, and the excesses are compared.
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
    others = b.sum(axis=(0, 1)) - b.sum(axis=0) - _by_other_problems(b)
    counted = np.asarray(others <= _most(b))
    kept_a, kept_b = a & counted, b & counted
    more = kept_a.any(axis=-1).sum() > kept_b.any(axis=-1).sum()
    return QuoteTest(kept_a, kept_b, _swap_p(a, b) if more else 1.0)


def ordinary(unprimed: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Whether each run of words is ordinary, `[gram]`, given the runs in unprimed answers, `[answer, gram]`."""
    return np.asarray(unprimed.sum(axis=0) > ORDINARY * len(unprimed))


def _by_other_problems(held: Held) -> NDArray[np.int64]:
    """Answers of the same student to the other problems with each run, `[seeds, n, gram]`; 0 with a single seed."""
    if len(held) == 1:
        return np.zeros(held.shape, dtype=int)
    return np.asarray(held.sum(axis=1, keepdims=True) - held)


def _most(held: Held) -> float:
    """The number of answers up to which a run is not ordinary."""
    return float(ORDINARY * max(1, len(held) - 1) * held.shape[1])


def _swap_p(a: Held, b: Held) -> float:
    """Only problems and runs that occur matter; runs that always occur together are one."""
    touched = np.flatnonzero((a.any(axis=-1) | b.any(axis=-1)).any(axis=0))
    both = np.concatenate([a[:, touched], b[:, touched]])
    runs = np.unique(both.reshape(-1, both.shape[-1]), axis=1).reshape(*both.shape[:2], -1)
    sides = left, right = runs[: len(a)].astype(int), runs[len(a) :].astype(int)
    sums = left.sum(axis=0), right.sum(axis=0)
    most, several = _most(a), len(a) > 1
    rest = [
        total - side if several else np.broadcast_to(total, side.shape) for total, side in zip(sums, sides, strict=True)
    ]

    def excess(swaps: Swaps) -> NDArray[np.float64]:
        """Quoting answers of the first side minus those of the second, for each pattern."""
        flips = swaps.astype(float)
        unprimed = sums[1].sum(axis=0) + flips @ (sums[0] - sums[1])
        by_student = [right[seed].sum(axis=0) + flips @ (left[seed] - right[seed]) for seed in range(len(a))]
        signs = 1.0 - 2.0 * swaps
        total = np.zeros(len(swaps))
        for side, sign in ((left, 1), (right, -1)):
            seed, problem, gram = np.nonzero(side)
            if not len(seed):
                continue
            own = np.where(swaps[:, problem], rest[0][seed, problem, gram], rest[1][seed, problem, gram])
            if several:
                own = own + np.stack(by_student, axis=1)[:, seed, gram]
            kept = unprimed[:, gram] - own <= most
            starts = np.flatnonzero(np.diff(seed * len(touched) + problem, prepend=-1))
            total += sign * (np.logical_or.reduceat(kept, starts, axis=1) * signs[:, problem[starts]]).sum(axis=1)
        return total

    return label_swap_p(excess, len(touched))
