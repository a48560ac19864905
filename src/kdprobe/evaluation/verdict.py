"""What may be said of a comparison, in sentences.

With one seed: "these two students differ", never "this strategy is better". A seed's own spread makes single-seed
tests wrong far more often than their level says.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kdprobe.evaluation.arms import AGAINST_UNTRAINED, ALL_PAIRS, PRIMED

if TYPE_CHECKING:
    from kdprobe.evaluation.comparison import ArmScore, Pair


def verdict(arms: Sequence[ArmScore], pairs: Sequence[Pair]) -> list[str]:
    """The answer to the question that the arms were compared for."""
    if not pairs:
        return ["There is one arm only; nothing can be compared."]
    if pairs[0].family == ALL_PAIRS:
        return _unplanned(pairs)
    return [*_priming(pairs), *_gains(pairs), _about(arms)]


def _unplanned(pairs: Sequence[Pair]) -> list[str]:
    different = [_sentence(pair) for pair in pairs if pair.significant]
    equal = len(pairs) - len(different)
    if not different:
        return [f"No two of these arms differ significantly ({equal} {'pair' if equal == 1 else 'pairs'})."]
    return [*different, *([f"The other {equal} pairs do not differ significantly."] if equal else [])]


def _priming(pairs: Sequence[Pair]) -> list[str]:
    sentences = [_sentence(pair) for pair in pairs if pair.family == PRIMED]
    return sentences or ["No primed arm stands beside an unprimed one, so nothing can be said about priming."]


def _gains(pairs: Sequence[Pair]) -> list[str]:
    gains = [pair for pair in pairs if pair.family == AGAINST_UNTRAINED]
    if not gains:
        return []
    better = [pair for pair in gains if pair.significant and pair.test.difference > 0]
    if not better:
        return ["No distilled student is significantly better than the untrained one."]
    worst = max(pair.p_holm for pair in better)
    names = ", ".join(pair.a for pair in better)
    return [f"Better than the untrained student: {names} (Holm-adjusted p at most {p_text(worst)})."]


def _about(arms: Sequence[ArmScore]) -> str:
    seeds = {arm.seed for arm in arms if arm.strategy is not None}
    few = "one seed" if len(seeds) == 1 else f"{len(seeds)} seeds"
    return f"With {few} these sentences speak of these students, not of the strategies that taught them."


def _sentence(pair: Pair) -> str:
    test = pair.test
    kind = "differ" if pair.significant else "do not differ significantly"
    apart = abs(test.difference) * 100
    more = "more" if test.difference > 0 else "fewer"
    told = f"solves {apart:.1f} points {more}" if test.difference else "solves as many"
    sentence = (
        f"The students {pair.a} and {pair.b} {kind}: {pair.a} {told} "
        f"(95 % interval {test.interval.low * 100:+.1f} to {test.interval.high * 100:+.1f}; "
        f"{test.only_a} problems solved only by it, {test.only_b} only by the other; p = {p_text(pair.p_holm)})."
    )
    if pair.log_p_difference is None or pair.log_p_interval is None:
        return sentence
    return (
        f"{sentence} Its log p(gold value) differs by {pair.log_p_difference:+.2f} nats "
        f"({pair.log_p_interval.low:+.2f} to {pair.log_p_interval.high:+.2f})."
    )


def p_text(p: float) -> str:
    """A p-value as people write it."""
    return f"{p:.2f}" if p >= 0.1 else f"{p:.3f}" if p >= 0.001 else f"{p:.1g}"  # noqa: PLR2004
