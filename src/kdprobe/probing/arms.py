"""Students as replicates of arms: what another seed alone changes is what a change has to exceed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from kdprobe.errors import UsageError

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


def arms(students: Sequence[str]) -> dict[str, list[str]]:
    """Arm to its students, in order: `ARM@SEED` are replicates of one arm, any other name is an arm by itself."""
    grouped: dict[str, list[str]] = {}
    for name in students:
        arm, _, seed = name.rpartition("@")
        grouped.setdefault(arm if arm and seed.isdecimal() else name, []).append(name)
    return grouped


def chosen(students: Sequence[str], names: Sequence[str], analysis: str) -> list[str]:
    """The students that an analysis is told to look at, by themselves or by their arm; all where it is told of none.

    Args:
        students: All there are.
        names: Students or arms.
        analysis: Who looks.

    Raises:
        UsageError: There is no such student.
    """
    members = {**arms(students), **{name: [name] for name in students}}
    if unknown := [name for name in names if name not in members]:
        raise UsageError(
            f"The analysis {analysis!r} is to look at {unknown[0]!r}, and there is no such student.",
            f"There are {', '.join(students)}.",
        )
    wanted = {member for name in names or students for member in members[name]}
    return [name for name in students if name in wanted]


def threshold(replicates: Sequence[Array], smallest: float) -> Threshold:
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
        effects: Student to effects.
        grouped: Arm to its students; those without effects are left out.
    """
    return [
        effects[one] - effects[other]
        for members in grouped.values()
        for one, other in combinations([name for name in members if name in effects], 2)
    ]
