"""What may be said of a comparison, in sentences.

With one seed: "these two students differ", never "this strategy is better". A seed's own spread makes single-seed
tests wrong far more often than their level says.
"""

from __future__ import annotations

from collections.abc import Sequence

from kdprobe.comparison.arms import AGAINST_UNTRAINED, ALL_PAIRS, PRIMED
from kdprobe.comparison.result import ArmScore, Pair
from kdprobe.comparison.strategy_tests import StrategyPair
from kdprobe.stats.clustered import ClusterTest
from kdprobe.stats.p_values import SIGNIFICANT, p_text


def verdict(arms: Sequence[ArmScore], pairs: Sequence[Pair], strategies: Sequence[StrategyPair]) -> list[str]:
    """The answer to the question that the arms were compared for."""
    if not pairs:
        few = "There is one arm only" if len(arms) == 1 else "There is no pair of students to compare"
        return [f"{few}; nothing can be compared."]
    if pairs[0].family == ALL_PAIRS:
        return _unplanned(pairs)
    sentences = _strategies(strategies) if strategies else _priming(pairs)
    reach = [] if strategies else _reach(pairs)
    return [*sentences, *reach, *_gains(pairs), _about(arms, strategies)]


def _unplanned(pairs: Sequence[Pair]) -> list[str]:
    different = [_sentence(pair) for pair in pairs if pair.significant]
    equal = len(pairs) - len(different)
    if not different:
        return [f"No two of these arms differ significantly ({equal} {'pair' if equal == 1 else 'pairs'})."]
    rest = f"{equal} other {'pair does' if equal == 1 else 'pairs do'} not differ significantly."
    return [*different, *([rest] if equal else [])]


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


def _strategies(pairs: Sequence[StrategyPair]) -> list[str]:
    primed = [pair for pair in pairs if pair.family == PRIMED]
    return [_strategy_sentence(pair) for pair in primed or pairs]


def _strategy_sentence(pair: StrategyPair) -> str:
    test = pair.test
    difference = _points_text(test.difference)
    measured = (
        f"95 % interval {test.interval.low * 100:+.1f} to {test.interval.high * 100:+.1f}, p = {p_text(pair.p_holm)}, "
        f"over {test.seeds_a} and {test.seeds_b} seeds and {test.n} problems"
    )
    if (over := pair.clustered) is not None:
        measured += (
            f"; with the {over.groups} templates as what was drawn {over.interval.low * 100:+.1f} to "
            f"{over.interval.high * 100:+.1f}, p = {p_text(over.p)}"
        )
    if pair.significant:
        return f"The strategy {pair.a} makes students that solve {difference} than those of {pair.b} ({measured})."
    return (
        f"No difference between the strategies {pair.a} and {pair.b} is shown: students of {pair.a} solve {difference} "
        f"({measured})."
    )


def _reach(pairs: Sequence[Pair]) -> list[str]:
    """What the sample could have shown, and whether it speaks of other templates."""
    primed = [pair for pair in pairs if pair.family == PRIMED]
    missed = [pair for pair in primed if not pair.significant]
    sentences = [_could_show(pair) for pair in missed]
    if clustered := [(pair, pair.clustered) for pair in primed if pair.clustered]:
        intervals = "; ".join(f"{pair.a} - {pair.b} {_over_groups(test)}" for pair, test in clustered)
        sentences.append(
            f"All this is conditional on the {clustered[0][1].groups} templates of the problems. With the templates as "
            f"what was drawn: {intervals}."
        )
    return sentences


def _could_show(pair: Pair) -> str:
    test = pair.test
    split = test.only_a + test.only_b
    if pair.detectable is None:
        return (
            f"{pair.a} and {pair.b} fare alike on {test.n - split} of {test.n} problems; the other {split} are too few "
            "to find a difference with."
        )
    return (
        f"With {test.n} problems, {split} of them decided differently, a true difference between {pair.a} and {pair.b} "
        f"below {pair.detectable * 100:.1f} points would have been missed more often than once in five."
    )


def _over_groups(test: ClusterTest) -> str:
    least = f" (at least {p_text(test.smallest_p)} with so few)" if test.smallest_p > SIGNIFICANT else ""
    return f"{test.interval.low * 100:+.1f} to {test.interval.high * 100:+.1f} points, p = {p_text(test.p)}{least}"


def _about(arms: Sequence[ArmScore], strategies: Sequence[StrategyPair]) -> str:
    if strategies:
        return "Sentences on strategies hold over seeds and problems; sentences on students are of these students only."
    seeds = {arm.seed for arm in arms if arm.strategy is not None}
    few = "one seed" if len(seeds) == 1 else f"{len(seeds)} seeds"
    return f"With {few} these sentences speak of these students, not of the strategies that taught them."


def _sentence(pair: Pair) -> str:
    test = pair.test
    kind = "differ" if pair.significant else "do not differ significantly"
    sentence = (
        f"The students {pair.a} and {pair.b} {kind}: {pair.a} solves {_points_text(test.difference)} "
        f"(95 % interval {test.interval.low * 100:+.1f} to {test.interval.high * 100:+.1f}; "
        f"{test.only_a} {'problem' if test.only_a == 1 else 'problems'} solved only by it, {test.only_b} only by the "
        f"other; p = {p_text(pair.p_holm)})."
    )
    if pair.log_p_difference is None or pair.log_p_interval is None:
        return sentence
    between = pair.log_p_interval
    interval = f"{between.low:+.2f} to {between.high:+.2f}" if between.known else "too few problems for an interval"
    return f"{sentence} Its log p(gold value) differs by {pair.log_p_difference:+.2f} nats ({interval})."


def _points_text(difference: float) -> str:
    if not difference:
        return "as many"
    return f"{abs(difference) * 100:.1f} points {'more' if difference > 0 else 'fewer'}"
