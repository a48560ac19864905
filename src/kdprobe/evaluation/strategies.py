"""Strategies, each by several students of other seeds: the only comparison from which something follows for strategies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kdprobe.evaluation.arms import AGAINST_FINE_TUNED, PRIMED, UNPRIMED, Arm
from kdprobe.evaluation.seeds import FEWEST_SEEDS, CrossedTest, crossed_test
from kdprobe.evaluation.statistics import SIGNIFICANT, holm

FINE_TUNED = "fine-tuned"


@dataclass(frozen=True)
class StrategyPair:
    """Two strategies, over seeds and problems.

    Attributes:
        family: The pairs that were planned together.
        a: One strategy.
        b: The other, or `fine-tuned`.
        test: Of the one against the other.
        p_holm: Adjusted within the family.
    """

    family: str
    a: str
    b: str
    test: CrossedTest
    p_holm: float

    @property
    def significant(self) -> bool:
        """Whether the two strategies differ at 5 % after Holm."""
        return self.p_holm < SIGNIFICANT


def strategy_pairs(arms: Sequence[Arm], right: Mapping[str, Mapping[str, bool]]) -> list[StrategyPair]:
    """Primed strategies against `none`, and all against fine-tuning, where each has three seeds or more.

    Args:
        arms: All arms.
        right: Arm to problem to whether it was solved.
    """
    students: dict[str, list[str]] = {}
    for arm in arms:
        if not arm.control or arm.distiller is not None:
            students.setdefault(arm.strategy or FINE_TUNED, []).append(arm.name)
    enough = {name: names for name, names in students.items() if len(names) >= FEWEST_SEEDS}
    strategies = [name for name in enough if name != FINE_TUNED]
    planned = {
        AGAINST_FINE_TUNED: [(name, FINE_TUNED) for name in strategies if FINE_TUNED in enough],
        PRIMED: [(name, UNPRIMED) for name in strategies if name != UNPRIMED and UNPRIMED in enough],
    }
    pairs = []
    for family, members in planned.items():
        tests = [_test(enough[a], enough[b], right) for a, b in members]
        adjusted = holm([test.p for test in tests])
        pairs += [StrategyPair(family, a, b, test, p) for (a, b), test, p in zip(members, tests, adjusted, strict=True)]
    return pairs


def _test(a: Sequence[str], b: Sequence[str], right: Mapping[str, Mapping[str, bool]]) -> CrossedTest:
    keys = [key for key in right[a[0]] if all(key in right[name] for name in (*a, *b))]
    solved = [np.array([[right[name][key] for key in keys] for name in names]) for names in (a, b)]
    return crossed_test(*solved)
