"""Strategies, each judged by students of several seeds: only from these does anything follow for strategies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kdprobe.comparison.arms import AGAINST_FINE_TUNED, AGAINST_UNTRAINED, PRIMED, Arm
from kdprobe.comparison.pairing import Pairing
from kdprobe.comparison.scoring import Right, shared_groups
from kdprobe.stats.crossed import CrossedTest, crossed_test
from kdprobe.stats.least import FEWEST_SEEDS
from kdprobe.stats.p_values import SIGNIFICANT, holm

FINE_TUNED = "fine-tuned"


@dataclass(frozen=True)
class StrategyPair:
    """Two strategies, over seeds and problems.

    Attributes:
        family: The pairs that were planned together.
        a: One strategy.
        b: The other, or a control.
        test: Of the one against the other.
        clustered: The same over groups of problems, or `None` where there are none.
        p_holm: Adjusted within the family.
    """

    family: str
    a: str
    b: str
    test: CrossedTest
    clustered: CrossedTest | None
    p_holm: float

    @property
    def significant(self) -> bool:
        """Whether the two strategies differ at 5 % after Holm."""
        return self.p_holm < SIGNIFICANT


def strategy_pairs(arms: Sequence[Arm], right: Right, pairing: Pairing) -> list[StrategyPair]:
    """Primed strategies against unprimed ones, and all against the controls, where each has three seeds or more.

    The untrained student was made by no seed, so one of it is enough.

    Args:
        arms: All arms.
        right: Whether each of an arm's answers is right.
        pairing: Which of them are to the same problems.
    """
    students: dict[str, list[Arm]] = {}
    untrained = [arm for arm in arms if arm.control and arm.distiller is None]
    for arm in arms:
        if arm not in untrained:
            students.setdefault(arm.strategy or FINE_TUNED, []).append(arm)
    enough = {name: members for name, members in students.items() if len(members) >= FEWEST_SEEDS}
    strategies = [name for name in enough if name != FINE_TUNED]
    unprimed = [name for name in strategies if enough[name][0].unprimed]
    enough |= {arm.name: [arm] for arm in untrained}
    planned = {
        AGAINST_UNTRAINED: [(name, arm.name) for name in strategies for arm in untrained],
        AGAINST_FINE_TUNED: [(name, FINE_TUNED) for name in strategies if FINE_TUNED in enough],
        PRIMED: [(name, other) for name in strategies if name not in unprimed for other in unprimed],
    }
    pairs = []
    for family, members in planned.items():
        tests = [_tests(enough[a], enough[b], right, pairing) for a, b in members]
        adjusted = holm([test.p for test, _ in tests])
        for (a, b), (test, clustered), p_holm in zip(members, tests, adjusted, strict=True):
            pairs.append(StrategyPair(family, a, b, test, clustered, p_holm))
    return pairs


def _tests(
    a: Sequence[Arm], b: Sequence[Arm], right: Right, pairing: Pairing
) -> tuple[CrossedTest, CrossedTest | None]:
    """Over problems, and over groups of them."""
    names = [arm.name for arm in (*a, *b)]
    rows = pairing.shared(*names)
    solved = np.array([right[name][held] for name, held in zip(names, rows, strict=True)])
    # One student that no seed made is no sample of a strategy's students.
    left, other = solved[: len(a)], solved[len(a) :] if len(b) > 1 else solved[len(a)]
    groups = shared_groups(a[0].outputs, rows[0])
    return crossed_test(left, other), crossed_test(left, other, groups) if groups else None
