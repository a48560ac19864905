"""The effect at which a head counts as moved: the change that a different seed produces, or a stated size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Threshold:
    """The effect at which a head counts as moved.

    Attributes:
        value: In the unit of the effect.
        stated: Whether it is the stated smallest effect, rather than the change that a different seed produces.
    """

    value: float
    stated: bool

    def sentence(self, unit: str) -> str:
        """The threshold and where it comes from."""
        seeds = "the largest change that a different seed caused in any head"
        reason = "the smallest effect of interest" if self.stated else seeds
        return f"at least {self.value:.2g}{' ' if unit else ''}{unit}, {reason}"


def movement_threshold(replicates: Sequence[Array], smallest: float) -> Threshold:
    """The larger of the stated smallest effect and the largest difference caused by a different seed.

    Args:
        replicates: Differences between students of one arm, each `[layer, head]`.
        smallest: The stated smallest effect.
    """
    null = max((float(np.nanmax(np.abs(difference))) for difference in replicates), default=0.0)
    return Threshold(max(null, smallest), smallest >= null)


def seed_differences(effects: Mapping[str, Array], grouped: Mapping[str, Sequence[str]]) -> list[Array]:
    """Differences of effects between any two students of one arm.

    Args:
        effects: Each student's effects, `[layer, head]`.
        grouped: Each arm's students; students without effects are skipped.
    """
    return [
        effects[first] - effects[second]
        for members in grouped.values()
        for first, second in combinations([name for name in members if name in effects], 2)
    ]
