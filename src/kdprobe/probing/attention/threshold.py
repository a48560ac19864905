"""The effect at which a head counts as moved: what a different seed or rounding changes, or a stated size."""

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
        rounded: The data type of the students, if it is what rounding to this type may change.
    """

    value: float
    stated: bool
    rounded: str = ""

    def sentence(self, unit: str) -> str:
        """The threshold and where it comes from."""
        seeds = "the largest change that a different seed caused in any head"
        reason = "the smallest effect of interest" if self.stated else seeds
        if self.rounded:
            reason = f"the largest change that rounding to {self.rounded} alone could cause in any head"
        return f"at least {self.value:.2g}{' ' if unit else ''}{unit}, {reason}"


def movement_threshold(
    replicates: Sequence[Array], smallest: float, rounding: float = 0.0, dtype: str = ""
) -> Threshold:
    """The largest of the stated smallest effect, the largest difference caused by a different seed, and rounding.

    Args:
        replicates: Differences between students of one arm, each `[layer, head]`.
        smallest: The stated smallest effect.
        rounding: What rounding may change.
        dtype: The data type to which it rounds.
    """
    null = max((float(np.nanmax(np.abs(difference))) for difference in replicates), default=0.0)
    if rounding > max(null, smallest):
        return Threshold(rounding, stated=False, rounded=dtype)
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
