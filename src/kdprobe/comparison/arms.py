"""What students answered, and which of them are compared with which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from kdprobe.comparison.answers import Outputs

NO_ANSWERS = Outputs(file="", responses=[], gold=[])
ALL_PAIRS = "all pairs"
AGAINST_UNTRAINED = "distilled against untrained"
AGAINST_FINE_TUNED = "distilled against fine-tuned"
PRIMED = "primed against unprimed"


@dataclass(frozen=True)
class Arm:
    """What one student answered.

    Attributes:
        name: Unique within a comparison.
        outputs: Its answers.
        strategy: Its teacher's strategy, or `None` where there is none or it is not known.
        distiller: Its distiller, or `None`.
        seed: Of its training.
        unprimed: Whether its teacher read the bare question: the strategy's role, whatever it is called.
        absent: Why it has no answers; empty where it has.
    """

    name: str
    outputs: Outputs
    strategy: str | None = None
    distiller: str | None = None
    seed: int = 0
    unprimed: bool = False
    absent: str = ""

    @property
    def control(self) -> bool:
        """Whether no teacher's strategy is known of it."""
        return self.strategy is None


Families = Mapping[str, Sequence[tuple[Arm, Arm]]]
"""Name of a family to its pairs."""


def families(arms: Sequence[Arm]) -> Families:
    """The pairs that an experiment plans; all of them where no strategy is known.

    Distilled arms meet each control. Every primed arm meets every unprimed one, and Holm's adjustment counts all these
    pairs; unprimed arms do not meet each other, for neither is primed.
    """
    distilled = [arm for arm in arms if not arm.control]
    untrained = [arm for arm in arms if arm.control and arm.distiller is None]
    tuned = [arm for arm in arms if arm.control and arm.distiller is not None]
    primed = [arm for arm in distilled if not arm.unprimed]
    unprimed = [arm for arm in distilled if arm.unprimed]
    planned = {
        AGAINST_UNTRAINED: [(arm, control) for arm in distilled for control in untrained],
        AGAINST_FINE_TUNED: [(arm, control) for arm in distilled for control in tuned if control.seed == arm.seed],
        PRIMED: [
            (arm, other)
            for arm in primed
            for other in unprimed
            if (arm.distiller, arm.seed) == (other.distiller, other.seed)
        ],
    }
    return {name: pairs for name, pairs in planned.items() if pairs} or {ALL_PAIRS: list(combinations(arms, 2))}
