"""The verdict: what a comparison supports, in sentences.

With a single seed, the verdict says "these two students differ", never "this strategy is better". Students vary so much
from seed to seed that single-seed tests of strategies are wrong far more often than their level says.
"""

from __future__ import annotations

from collections.abc import Sequence

from kdprobe.comparison.arms import AGAINST, AGAINST_UNTRAINED, ALL_PAIRS, PLANNED, PRIMED
from kdprobe.comparison.finding import Finding
from kdprobe.comparison.result import ArmScore, Pair
from kdprobe.comparison.samples.words import accuracy_text, is_several
from kdprobe.comparison.strategy_tests import StrategyPair
from kdprobe.stats.clustered import ClusterTest
from kdprobe.stats.crossed import CrossedTest
from kdprobe.stats.least import fewest_problems, smallest_p
from kdprobe.stats.p_values import SIGNIFICANT, p_text
from kdprobe.words import counted

_ROUNDING = 1e-12
"""Means of equal accuracies may differ by this much."""


def verdict(arms: Sequence[ArmScore], pairs: Sequence[Pair], strategies: Sequence[StrategyPair]) -> list[str]:
    """Answers the question that the arms were compared for."""
    if not pairs:
        few = "There is only one arm" if len(arms) == 1 else "There is no pair of students"
        return [f"{few}, so there is nothing to compare."]
    if pairs[0].family not in PLANNED:
        return _unplanned(pairs)
    sentences = _strategies(strategies) if strategies else _priming(pairs)
    reach = [] if strategies else _reach(pairs)
    return [*sentences, *reach, *_gains(pairs), _about(arms, strategies)]


def _unplanned(pairs: Sequence[Pair]) -> list[str]:
    few = [finding.evidence for finding in few_problems(pairs)]
    if len(pairs) == 1:
        return [_sentence(pairs[0]), *few]
    different = [_sentence(pair) for pair in pairs if pair.significant]
    equal = len(pairs) - len(different)
    if not different:
        every = pairs[0].family == ALL_PAIRS
        alone = len({pair.b for pair in pairs}) == 1
        base = repr(pairs[0].b) if alone else f"its counterpart in {pairs[0].family.removeprefix(AGAINST)!r}"
        none = "No two of these arms differ significantly" if every else f"No arm differs significantly from {base}"
        return [f"{none} ({equal} pairs).", *few]
    rest = f"{equal} other {'pair does' if equal == 1 else 'pairs do'} not differ significantly."
    return [*different, *([rest] if equal else [])]


def few_problems(pairs: Sequence[Pair]) -> list[Finding]:
    """Finds that the arms share too few problems for any difference to be significant, unless an experiment planned it.

    A plan says so before the experiment runs.
    """
    if not pairs or pairs[0].family in PLANNED:
        return []
    problems, tests = max(pair.test.n for pair in pairs), len(pairs)
    test = "the sign-flip" if is_several(pairs[0].samples) else "McNemar's exact"
    if smallest_p(problems, tests) < SIGNIFICANT:
        return []
    return [
        Finding(
            "too-few-problems",
            f"With {counted(problems, 'shared problem')}, no difference can be significant: the smallest Holm-adjusted "
            f"p that {test} test can reach is {smallest_p(problems, tests):.2g}.",
            f"Compare on {fewest_problems(tests)} problems or more; detecting a small difference takes many more.",
        )
    ]


def _priming(pairs: Sequence[Pair]) -> list[str]:
    sentences = [_sentence(pair) for pair in pairs if pair.family == PRIMED]
    return sentences or ["No primed student is paired with an unprimed one, so nothing can be said about priming."]


def _gains(pairs: Sequence[Pair]) -> list[str]:
    gains = [pair for pair in pairs if pair.family == AGAINST_UNTRAINED]
    if not gains:
        return []
    better = [pair for pair in gains if pair.significant and pair.test.difference > 0]
    if not better:
        return ["No distilled student is significantly better than the untrained one."]
    worst = max(pair.p_holm for pair in better)
    names = ", ".join(repr(pair.a) for pair in better)
    return [f"Significantly better than the untrained student: {names} (Holm-adjusted p at most {p_text(worst)})."]


def _strategies(pairs: Sequence[StrategyPair]) -> list[str]:
    primed = [pair for pair in pairs if pair.family == PRIMED]
    return [_strategy_sentence(pair) for pair in primed or pairs]


def _strategy_sentence(pair: StrategyPair) -> str:
    test = pair.test
    measured = (
        f"95% interval {test.interval.low * 100:+.1f} to {test.interval.high * 100:+.1f}, Holm-adjusted p = "
        f"{p_text(pair.p_holm)}, {_seeds_text(test)}, {test.n} problems"
    )
    if (over := pair.clustered) is not None:
        measured += (
            f"; clustered by the {over.groups} templates: {over.interval.low * 100:+.1f} to "
            f"{over.interval.high * 100:+.1f}, unadjusted p = {p_text(over.p)}"
        )
    trained = f"trained with {pair.a!r}"
    if pair.family == PRIMED:
        kind = "differ" if pair.significant else "do not differ significantly"
        score = _score_text(f"students trained with {pair.b!r}", test.difference, pair.samples, several=True)
        return f"The strategies {pair.a!r} and {pair.b!r} {kind}: students {trained} {score} ({measured})."
    control = f"the control {pair.b!r}"
    if pair.significant:
        return f"Students {trained} {_score_text(control, test.difference, pair.samples, several=True)} ({measured})."
    score = _score_text("", test.difference, pair.samples, several=True)
    return f"Students {trained} do not differ significantly from {control}: they {score} ({measured})."


def _seeds_text(test: CrossedTest) -> str:
    """The seeds of both sides; the untrained student has none."""
    if test.seeds_b == 1:
        return counted(test.seeds_a, "seed")
    return f"{test.seeds_a} seeds each" if test.seeds_a == test.seeds_b else f"{test.seeds_a} and {test.seeds_b} seeds"


def _reach(pairs: Sequence[Pair]) -> list[str]:
    """Which differences the sample could have detected, and whether the results extend to other templates."""
    primed = [pair for pair in pairs if pair.family == PRIMED]
    missed = [pair for pair in primed if not pair.significant]
    sentences = [_could_show(pair) for pair in missed]
    if clustered := [(pair, pair.clustered) for pair in primed if pair.clustered]:
        intervals = "; ".join(f"{pair.a!r} minus {pair.b!r}: {_over_groups(test)}" for pair, test in clustered)
        sentences.append(
            f"These results are conditional on the {clustered[0][1].groups} templates the problems come from. "
            f"Clustered by template (95% intervals, unadjusted p): {intervals}."
        )
    return sentences


def _could_show(pair: Pair) -> str:
    test = pair.test
    split = test.only_a + test.only_b
    if pair.detectable is None:
        few = "1 disagreement is" if split == 1 else f"{split} disagreements are"
        alike = "have the same accuracy" if is_several(pair.samples) else "agree"
        agree = f"{pair.a!r} and {pair.b!r} {alike} on {test.n - split} of {test.n} problems"
        return f"{agree}; {few} too few to detect a difference."
    return (
        f"With {split} disagreements on {test.n} problems, a true difference of less than "
        f"{pair.detectable * 100:.1f} points between {pair.a!r} and {pair.b!r} would be missed more than one time in "
        "five."
    )


def _over_groups(test: ClusterTest) -> str:
    too_few = test.smallest_p > SIGNIFICANT
    least = f" (the two differ on too few templates for p to be below {p_text(test.smallest_p)})" if too_few else ""
    return f"{test.interval.low * 100:+.1f} to {test.interval.high * 100:+.1f} points, p = {p_text(test.p)}{least}"


def _about(arms: Sequence[ArmScore], strategies: Sequence[StrategyPair]) -> str:
    if strategies:
        return (
            "Results for strategies generalise to other seeds and problems; results for students describe only these "
            "students."
        )
    seeds = {arm.seed for arm in arms if arm.strategy is not None}
    few = "a single seed" if len(seeds) == 1 else f"{len(seeds)} seeds"
    return f"With {few}, these results describe these students, not the strategies."


def _sentence(pair: Pair) -> str:
    test = pair.test
    kind = "differ" if pair.significant else "do not differ significantly"
    problems = counted(test.only_a, "problem")
    if is_several(pair.samples):
        counts = f"{pair.a!r} is better on {problems}, {pair.b!r} on {test.only_b}"
    else:
        counts = f"{problems} solved only by {pair.a!r}, {test.only_b} only by {pair.b!r}"
    sentence = (
        f"The students {pair.a!r} and {pair.b!r} {kind}: {pair.a!r} "
        f"{_score_text(repr(pair.b), test.difference, pair.samples)} (95% interval {test.interval.low * 100:+.1f} to "
        f"{test.interval.high * 100:+.1f}; {counts}; Holm-adjusted p = {p_text(pair.p_holm)})."
    )
    if pair.log_p_difference is None or pair.log_p_interval is None:
        return sentence
    between = pair.log_p_interval
    interval = f"{between.low:+.2f} to {between.high:+.2f}" if between.known else "no interval"
    return f"{sentence} The difference in log p(gold value) is {pair.log_p_difference:+.2f} nats ({interval})."


def _score_text(other: str, difference: float, samples: Sequence[int], *, several: bool = False) -> str:
    """How accuracies compare, to follow the name of the first one, or of several students.

    Args:
        other: What the first one is compared with; empty if the sentence has named it.
        difference: The first accuracy minus the other.
        samples: The numbers of answers per problem.
        several: Whether the first one is several students.
    """
    if abs(difference) < _ROUNDING:
        same = f"{'have' if several else 'has'} the same {accuracy_text(samples)}"
        return f"{same} as {other}" if other else same
    higher = "higher" if difference > 0 else "lower"
    measure = f" in {accuracy_text(samples)}" if is_several(samples) else ""
    than = f" than {other}" if other else ""
    return f"score{'' if several else 's'} {abs(difference) * 100:.1f} points {higher}{than}{measure}"
