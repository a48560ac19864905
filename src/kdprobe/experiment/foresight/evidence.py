"""Too few test problems or seeds for any result to be significant."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from kdprobe.comparison.arms import NO_ANSWERS, Arm, Families, families
from kdprobe.comparison.finding import Finding
from kdprobe.experiment.foresight.power import POWER, SMALL_DIFFERENCE, TYPICAL_SHARE, Power
from kdprobe.stats.least import FEWEST_SEEDS, fewest_problems, smallest_p
from kdprobe.stats.p_values import SIGNIFICANT
from kdprobe.words import counted

SEED_CODES = frozenset({"single-seed", "few-seeds"})
"""What `few_seeds` finds."""


def planned_families(arms: Sequence[Any]) -> Families:
    """The comparisons of a plan.

    Args:
        arms: All arms of the plan.
    """
    return families(
        [
            Arm(
                name=arm.student.name,
                outputs=NO_ANSWERS,
                strategy=arm.strategy,
                distiller=arm.distiller,
                seed=arm.student.seed,
                unprimed=arm.unprimed,
            )
            for arm in arms
        ]
    )


def too_little_evidence(
    arms: Sequence[Any], planned: Families, problems: int, power: Power | None
) -> Iterator[Finding]:
    """Comparisons that cannot become significant, or hardly.

    Args:
        arms: All arms of a plan.
        planned: Its comparisons.
        problems: The number of test problems.
        power: What the comparisons could show.
    """
    least = {family: smallest_p(problems, len(pairs)) for family, pairs in planned.items() if pairs}
    if hopeless := {family: p for family, p in least.items() if p >= SIGNIFICANT}:
        listed = ", ".join(f"{p:.2g} ({family})" for family, p in hopeless.items())
        largest = max(map(len, planned.values()))
        test = "the sign-flip" if power and power.samples > 1 else "McNemar's exact"
        yield Finding(
            "too-few-problems",
            f"With {counted(problems, 'test problem')}, no difference can be significant: the smallest Holm-adjusted p "
            f"that {test} test can reach is {listed}.",
            f"Set problems.test to {fewest_problems(largest)} or more; detecting a small difference takes many more.",
        )
    elif power and power.hopeless:
        yield Finding(
            "low-power",
            f"{counted(problems, 'test problem')} can show only extreme differences: a difference of "
            f"{TYPICAL_SHARE * 100:.0f} points would be missed more than one time in five, even if every disagreement "
            "favoured the same student.",
            f"Set problems.test to {power.needed} or more to detect {SMALL_DIFFERENCE * 100:.0f} points with "
            f"{POWER:.0%} power.",
        )
    primed = [arm.strategy for arm in arms if arm.strategy is not None]
    if primed and not any(arm.unprimed for arm in arms):
        yield Finding(
            "no-unprimed-arm",
            "No strategy gives the teacher the bare question, so this run cannot show what priming changes.",
            'Add "none" to strategies.',
        )
    yield from few_seeds((arm.strategy, arm.student.seed) for arm in arms)


def few_seeds(arms: Iterable[tuple[str | None, int]]) -> list[Finding]:
    """Strategies that are compared with too few students each.

    Args:
        arms: Strategy and seed of each arm; controls have no strategy.
    """
    seeds: dict[str, set[int]] = {}
    for strategy, seed in arms:
        if strategy is not None:
            seeds.setdefault(strategy, set()).add(seed)
    fewest = min(map(len, seeds.values()), default=0)
    if len(seeds) <= 1 or fewest >= FEWEST_SEEDS:
        return []
    alike = all(len(each) == fewest for each in seeds.values())
    which = "each with only" if alike else "but at least one has only"
    evidence = f"{len(seeds)} strategies are compared, {which} {counted(fewest, 'seed')}."
    action = (
        f"Use at least {FEWEST_SEEDS} seeds before drawing conclusions about strategies: seeds = "
        f"{list(range(FEWEST_SEEDS))} in the config. These results are about individual students."
    )
    return [Finding("single-seed" if fewest == 1 else "few-seeds", evidence, action)]
