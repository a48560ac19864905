"""Tests of strategies over students of several seeds; only these support conclusions about strategies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from kdprobe.comparison.arms import AGAINST_FINE_TUNED, AGAINST_UNTRAINED, PRIMED, Arm
from kdprobe.comparison.judging import Right
from kdprobe.comparison.pairing import Pairing
from kdprobe.comparison.scoring import shared_groups
from kdprobe.stats.crossed import CrossedTest, crossed_test
from kdprobe.stats.least import FEWEST_SEEDS
from kdprobe.stats.p_values import SIGNIFICANT, holm
from kdprobe.students.student import FINE_TUNED


@dataclass(frozen=True)
class StrategyPair:
    """Two strategies, over seeds and problems.

    Attributes:
        family: The family of tests that the pair belongs to.
        a: The first strategy.
        b: The second strategy, or a control.
        test: The test of a compared with b.
        clustered: The same test over groups of problems, or `None` if there are no groups.
        p_holm: The p-value, adjusted within the family.
        samples: The numbers of answers per problem of all students, from the smallest to the largest.
    """

    family: str
    a: str
    b: str
    test: CrossedTest
    clustered: CrossedTest | None
    p_holm: float
    samples: list[int] = field(default_factory=lambda: [1])

    @property
    def significant(self) -> bool:
        """Whether the two strategies differ at 5% after Holm's adjustment."""
        return self.p_holm < SIGNIFICANT


def strategy_pairs(
    arms: Sequence[Arm], right: Right, pairing: Pairing, samples: Mapping[str, int]
) -> list[StrategyPair]:
    """Compares primed strategies with unprimed ones, and all with the controls, given three seeds or more of each.

    The untrained student does not depend on a seed, so a single one is enough.

    Args:
        arms: All arms, with one row per problem.
        right: What each arm solved.
        pairing: The arms' problems.
        samples: The number of answers per problem of each arm.
    """
    students: dict[str, list[Arm]] = {}
    untrained = [arm for arm in arms if arm.untrained]
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
            taken = sorted({samples[arm.name] for arm in (*enough[a], *enough[b])})
            pairs.append(StrategyPair(family, a, b, test, clustered, p_holm, taken))
    return pairs


def _tests(
    a: Sequence[Arm], b: Sequence[Arm], right: Right, pairing: Pairing
) -> tuple[CrossedTest, CrossedTest | None]:
    """The test over problems, and the test over groups of problems."""
    names = [arm.name for arm in (*a, *b)]
    rows = pairing.shared(*names)
    solved = np.array([right[name][held] for name, held in zip(names, rows, strict=True)])
    # The untrained student is a single fixed model, not a sample over seeds.
    left, other = solved[: len(a)], solved[len(a) :] if len(b) > 1 else solved[len(a)]
    groups = shared_groups(a[0].outputs, rows[0])
    return crossed_test(left, other), crossed_test(left, other, groups) if groups else None
