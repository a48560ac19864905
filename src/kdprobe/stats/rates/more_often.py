"""Whether something shows in more answers of one side than of the other, on the same problems and seeds.

The p-value is one-sided and exact for any number of events, so it holds for rare ones: if the sides do not differ,
swapping them at a problem changes nothing, so the difference at each problem is as likely to have the other sign. All
sign patterns count (`sign_flip_p`); with one student on each side this is McNemar's exact test.

Swapping at problems takes the students as they are. With three seeds or more, `over_students` also takes them as a
sample.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdprobe.stats.clustered import clustered_test
from kdprobe.stats.crossed import crossed_test
from kdprobe.stats.intervals import NO_INTERVAL, Interval
from kdprobe.stats.least import FEWEST_SEEDS
from kdprobe.stats.mcnemar import paired_test
from kdprobe.stats.permutations.sign_flips import sign_flip_p

_FEWEST_PROBLEMS = 2


@dataclass(frozen=True)
class MoreOften:
    """The rates of two sides on the same problems.

    Attributes:
        n: Number of problems.
        rates_a: Share of the answers of each of a's students that show it.
        rates_b: The same for b's students.
        interval: 95% interval of the difference between the mean rates: over problems, and with three or
            more seeds also over seeds.
        p: One-sided p-value against the hypothesis that a's rate is not the higher one.
    """

    n: int
    rates_a: tuple[float, ...]
    rates_b: tuple[float, ...]
    interval: Interval
    p: float

    @property
    def seeds(self) -> int:
        """Number of students on each side."""
        return len(self.rates_a)

    @property
    def rate_a(self) -> float:
        """Share of a's answers that show it."""
        return float(np.mean(self.rates_a))

    @property
    def rate_b(self) -> float:
        """Share of b's answers that show it."""
        return float(np.mean(self.rates_b))

    @property
    def difference(self) -> float:
        """`rate_a` minus `rate_b`."""
        return self.rate_a - self.rate_b


def more_often(a: NDArray[Any], b: NDArray[Any], swap_p: float | None = None) -> MoreOften:
    """Compares how often two sides show something.

    Args:
        a: Whether each answer of each of a's students shows it, `[seeds, n]`.
        b: The same for b, with the same seeds and problems in the same order.
        swap_p: The one-sided p-value of swapping the sides at problems, where that changes what counts; by default that
            of sign flips.
    """
    left, right = np.asarray(a, dtype=bool), np.asarray(b, dtype=bool)
    return MoreOften(
        n=left.shape[1],
        rates_a=tuple(left.mean(axis=1).tolist()),
        rates_b=tuple(right.mean(axis=1).tolist()),
        interval=_interval(left, right),
        p=swapped_p(left, right) if swap_p is None else swap_p,
    )


def swapped_p(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """The one-sided p-value of sign flips over problems; arguments as in `more_often`."""
    totals = a.sum(axis=0, dtype=int) - b.sum(axis=0, dtype=int)
    return sign_flip_p(totals) / 2 if totals.sum() > 0 else 1.0


def _interval(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> Interval:
    seeds, n = a.shape
    if n < _FEWEST_PROBLEMS:
        return NO_INTERVAL
    if seeds == 1:
        return paired_test(a[0], b[0]).interval
    if seeds < FEWEST_SEEDS:
        return clustered_test(a.ravel(), b.ravel(), np.tile(np.arange(n), seeds).tolist()).interval
    return crossed_test(a, b).interval
