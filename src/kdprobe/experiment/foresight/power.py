"""The smallest difference that the planned problems and seeds could show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from kdprobe.comparison.arms import PRIMED, Families
from kdprobe.models.outline.helpers import Helpers
from kdprobe.models.outline.memory import Memory
from kdprobe.stats.least import FEWEST_SEEDS
from kdprobe.stats.p_values import SIGNIFICANT

POWER = 0.8
ASSUMED_SHARES = (0.1, 0.2, 0.4)
"""Shares of problems that only one of two students solves; unknown before the run, so several are assumed."""
TYPICAL_SHARE = 0.2
"""The share by which a plan is judged."""
SMALL_DIFFERENCE = 0.1
"""The difference that the number of problems to aim for is stated for."""


@dataclass(frozen=True)
class Detectable:
    """The smallest true differences that the tests of a family detect with 80% power, at 5% over the family.

    Attributes:
        share: The assumed share of problems that only one of two students solves.
        students: Between two students, as a share (0.12 is 12 points); `None` if not even a difference as large as the
            assumed share would be detected.
        strategies: Between two strategies over their seeds; `None` likewise, or if there are too few seeds.
    """

    share: float
    students: float | None
    strategies: float | None


@dataclass(frozen=True)
class Power:
    """What the comparisons of a plan could show.

    Attributes:
        problems: Number of test problems.
        seeds: Number of students of each strategy.
        family: The family of comparisons that this is about: primed vs unprimed or, failing that, the largest one.
        comparisons: Number of pairs of students in it.
        detectable: The smallest differences for each assumed share.
        needed: Number of problems needed to detect 10 points between two students at the typical share.
        samples: Number of answers to each problem. Differences and number are those for one answer; the mean over
            several varies less, so smaller differences may be detected.
    """

    problems: int
    seeds: int
    family: str
    comparisons: int
    detectable: tuple[Detectable, ...]
    needed: int
    samples: int = 1

    @property
    def tests_strategies(self) -> bool:
        """Whether there are enough seeds to compare strategies."""
        return self.seeds >= FEWEST_SEEDS

    @property
    def hopeless(self) -> bool:
        """Whether at the typical share no difference would be detected, however one-sided; unknown for samples."""
        if self.samples > 1:
            return False
        typical = next(row for row in self.detectable if row.share == TYPICAL_SHARE)
        return typical.students is None and typical.strategies is None


def planned_power(
    planned: Families, problems: int, seeds: int, memory: Memory, samples: int = 1, *, helpers: Helpers | None = None
) -> Power | None:
    """What the planned comparisons could show; `None` if there are none.

    Args:
        planned: The families of comparisons.
        problems: The number of test problems.
        seeds: The number of students of each strategy.
        memory: Remembers the result, because its computation imports scipy.
        samples: The number of answers to each problem.
        helpers: Where it is computed if scipy has been imported there; by default in this process.
    """
    pairs = {family: len(members) for family, members in planned.items() if members}
    if not pairs:
        return None
    family = PRIMED if PRIMED in pairs else max(pairs, key=pairs.__getitem__)
    inputs = {"problems": problems, "seeds": seeds, "comparisons": pairs[family], "shares": ASSUMED_SHARES}

    def compute() -> dict[str, Any]:
        arguments = (problems, seeds, pairs[family])
        # transformers imports scipy, so it need not be imported once more for a new model.
        return helpers.with_torch.call(_computed, *arguments) if helpers else _computed(*arguments)

    found = memory.general.recall("detectable differences", inputs, compute)
    rows = tuple(Detectable(**row) for row in found["detectable"])
    return Power(problems, seeds, family, pairs[family], rows, found["needed"], samples)


def _computed(problems: int, seeds: int, comparisons: int) -> dict[str, Any]:
    from kdprobe.stats.power import problems_needed

    alpha = SIGNIFICANT / comparisons
    return {
        "detectable": [asdict(row) for row in _rows(problems, seeds, alpha, ASSUMED_SHARES, comparisons)],
        "needed": problems_needed(SMALL_DIFFERENCE, TYPICAL_SHARE, alpha, POWER),
    }


def _rows(problems: int, seeds: int, alpha: float, shares: Sequence[float], comparisons: int) -> list[Detectable]:
    from kdprobe.stats.power import detectable_difference, detectable_strategy_difference

    rows = []
    for share in shares:
        students = detectable_difference(problems, share, alpha, POWER)
        strategies = None
        if seeds >= FEWEST_SEEDS:
            # Each comparison of strategies replaces one comparison of students for each seed.
            of_strategies = SIGNIFICANT / max(1, comparisons // seeds)
            strategies = detectable_strategy_difference(problems, seeds, share, of_strategies, POWER)
        rows.append(Detectable(share, students, strategies))
    return rows
