"""What an effect has to reach before a head counts as moved: what another seed changes, or a stated size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Threshold:
    """What an effect has to reach before a head counts as moved.

    Attributes:
        value: In the effect's unit.
        stated: Whether it is the smallest effect that was stated, and not what seeds change.
    """

    value: float
    stated: bool

    def sentence(self, unit: str) -> str:
        """Where the threshold comes from."""
        reason = "the smallest effect of interest" if self.stated else "the most that another seed changed in any head"
        return f"at least {self.value:.2g}{' ' if unit else ''}{unit}, {reason}"


def movement_threshold(replicates: Sequence[Array], smallest: float) -> Threshold:
    """The larger of the stated smallest effect and the largest difference that another seed made.

    Args:
        replicates: Differences between students of one arm, each `[layer, head]`.
        smallest: The stated smallest effect.
    """
    null = max((float(np.nanmax(np.abs(difference))) for difference in replicates), default=0.0)
    return Threshold(max(null, smallest), smallest >= null)


def seed_differences(effects: Mapping[str, Array], grouped: Mapping[str, Sequence[str]]) -> list[Array]:
    """Differences of effects between any two students of one arm.

    Args:
        effects: Student to effects, `[layer, head]`.
        grouped: Arm to its students; those without effects are left out.
    """
    return [
        effects[first] - effects[second]
        for members in grouped.values()
        for first, second in combinations([name for name in members if name in effects], 2)
    ]
