"""Students that gained on the deciding task and lost on a task outside of it."""

from __future__ import annotations

from collections.abc import Sequence

from kdprobe.comparison.arms import AGAINST_UNTRAINED, PRIMED
from kdprobe.comparison.finding import Finding
from kdprobe.comparison.result import Pair
from kdprobe.comparison.strategy_tests import StrategyPair
from kdprobe.comparison.tasks.retention import TaskChange
from kdprobe.comparison.tasks.verdict import amount
from kdprobe.stats.p_values import p_text
from kdprobe.words import enumerated


def gain_with_loss(
    pairs: Sequence[Pair], strategies: Sequence[StrategyPair], changes: Sequence[TaskChange]
) -> list[Finding]:
    """Finds students, or strategies, with a significant gain on the deciding task and a significant loss elsewhere.

    Gains are those over the untrained student and over the unprimed ones. Both p-values are adjusted within their own
    families.

    Args:
        pairs: Pairs of students.
        strategies: Pairs of strategies, where there are enough seeds.
        changes: Changes on other tasks against the untrained student.
    """
    compared: list[Pair | StrategyPair] = [*strategies, *pairs]
    evidence = []
    for name in dict.fromkeys(change.a for change in changes if change.outcome == "lost"):
        gains = [
            f"{pair.test.difference * 100:.1f} points over {pair.b} (p = {p_text(pair.p_holm)})"
            for pair in compared
            if pair.a == name and pair.family in {AGAINST_UNTRAINED, PRIMED}
            if pair.significant and pair.test.difference > 0
        ]
        losses = [
            f"{amount(-change.change, change.unit).removeprefix('+')} on {change.task} compared with {change.b} "
            f"(p = {p_text(change.p_holm or 0.0)})"
            for change in changes
            if change.a == name and change.outcome == "lost"
        ]
        if gains:
            evidence.append(f"{name} gained {enumerated(gains)} but lost {enumerated(losses)}")
    if not evidence:
        return []
    action = (
        "Report the gain and the loss; to keep what the student knew, train for fewer steps or mix other data into the "
        "training."
    )
    return [Finding("gain-with-loss", f"{'; '.join(evidence)}.", action)]
