"""The arms of a comparison, and which are compared with which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from kdprobe.comparison.answers import Outputs

NO_ANSWERS = Outputs(file="", responses=[], gold=[])
ALL_PAIRS = "all pairs"
AGAINST = "compared with "
"""What the family of a stated baseline begins with; its name follows."""
AGAINST_UNTRAINED = "distilled vs untrained"
AGAINST_FINE_TUNED = "distilled vs fine-tuned"
PRIMED = "primed vs unprimed"
PLANNED = frozenset({AGAINST_UNTRAINED, AGAINST_FINE_TUNED, PRIMED})
"""The families that experiments plan."""


def group_of(name: str, strategy: str | None, seed: int) -> str:
    """What arms that differ only by their seed have in common: the strategy, or the name without the seed."""
    return strategy or name.removesuffix(f"@{seed}")


@dataclass(frozen=True)
class Arm:
    """The answers of one student.

    Attributes:
        name: The arm's name, unique within a comparison.
        outputs: The answers.
        strategy: The teacher's strategy, or `None` if there is none or it is unknown.
        distiller: The distiller, or `None`.
        seed: The training seed.
        unprimed: Whether the teacher read the bare question; a matter of the strategy's role, not of its name.
        absent: Why there are no answers; empty if there are.
        taught_by: The strategy with its options, whatever it is called, or empty; finds the same arm in another run.
    """

    name: str
    outputs: Outputs
    strategy: str | None = None
    distiller: str | None = None
    seed: int = 0
    unprimed: bool = False
    absent: str = ""
    taught_by: str = ""

    @property
    def control(self) -> bool:
        """Whether it has no known strategy."""
        return self.strategy is None

    @property
    def untrained(self) -> bool:
        """Whether it has neither a known strategy nor a distiller, as the student before training."""
        return self.control and self.distiller is None

    @property
    def group(self) -> str:
        """What arms that differ only by their seed have in common: the strategy, or the name without the seed."""
        return group_of(self.name, self.strategy, self.seed)


Families = Mapping[str, Sequence[tuple[Arm, Arm]]]
"""Pairs by family."""


def families(arms: Sequence[Arm], baseline: str | None = None) -> Families:
    """The pairs that an experiment plans, or all pairs if no strategy is known; with a baseline, the pairs with it.

    The baseline is an arm, with which all others are compared, or a run, whose arms are then compared with those of
    the same strategy and seed in other runs, else with those of the same name. A name never pairs a primed arm with an
    unprimed one.

    Each distilled arm is compared with each control. Every primed arm is compared with every unprimed one of the same
    distiller and seed, and Holm's adjustment counts all these pairs. Unprimed arms are not compared with each other.
    """
    if baseline is not None:
        return {f"{AGAINST}{baseline}": _against(arms, baseline)}
    distilled = [arm for arm in arms if not arm.control]
    untrained = [arm for arm in arms if arm.untrained]
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


def _against(arms: Sequence[Arm], baseline: str) -> list[tuple[Arm, Arm]]:
    by_name = {arm.name: arm for arm in arms}
    if base := by_name.get(baseline):
        return [(arm, base) for arm in arms if arm is not base]
    own, others = (
        [arm for arm in arms if (arm.name.partition("/")[0] == baseline) is is_own] for is_own in (True, False)
    )
    alike = [(arm, _counterpart(arm, own, by_name.get(f"{baseline}/{arm.name.partition('/')[2]}"))) for arm in others]
    return [(arm, base) for arm, base in alike if base]


def _counterpart(arm: Arm, own: Sequence[Arm], named: Arm | None) -> Arm | None:
    """The arm of another run that was taught by the same strategy; without one, the one of the same name and role."""
    same = [base for base in own if arm.taught_by and (base.taught_by, base.seed) == (arm.taught_by, arm.seed)]
    if named in same or (not same and named and named.unprimed == arm.unprimed):
        return named
    return same[0] if len(same) == 1 else None
