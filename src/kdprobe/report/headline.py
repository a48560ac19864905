"""The answer to what a comparison asked, in one sentence, and what the answer refers to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kdprobe.comparison.arms import AGAINST_UNTRAINED, PRIMED
from kdprobe.comparison.result import ArmScore, Comparison, Pair
from kdprobe.comparison.samples.words import is_several, samples_text
from kdprobe.comparison.strategy_tests import StrategyPair
from kdprobe.report.numbers import TOO_FEW, percent, percent_interval, points_interval
from kdprobe.stats.clustered import ClusterTest
from kdprobe.stats.p_values import SIGNIFICANT, p_text
from kdprobe.words import counted

_NAMED = 3
"""Up to this many comparisons without a significant difference are named; more are only counted."""


@dataclass(frozen=True)
class Side:
    """One side of a comparison: an arm, or a strategy with all of its students.

    Attributes:
        name: Its name.
        arms: The names of its arms.
    """

    name: str
    arms: list[str]


@dataclass(frozen=True)
class Headline:
    """The result of a comparison.

    Attributes:
        sentence: The answer.
        shown: Whether it is a difference that the data show.
        rest: The results of the other comparisons of the same kind, as sentences.
        sides: What the sentence compares, or `None` if it compares nothing.
        by_template: Whether it also holds if templates are the sample, in a sentence; empty without templates.
    """

    sentence: str
    shown: bool
    rest: list[str]
    sides: tuple[Side, Side] | None
    by_template: str = ""

    @property
    def pair(self) -> tuple[str, str] | None:
        """The first arm of each side."""
        return self.sides and (self.sides[0].arms[0], self.sides[1].arms[0])


def headline(comparison: Comparison) -> Headline:
    """The answer: the largest difference that is significant after adjustment, or that none is.

    For a single arm with nothing to compare it with, its accuracy.
    """
    asked = _asked(comparison)
    if not asked and len(comparison.arms) == 1 and not comparison.absent:
        return Headline(_accuracy(comparison.arms[0]), False, [], None)
    if not asked:
        few = {0: "no arm has answers", 1: "only one arm has answers"}
        reason = few.get(len(comparison.arms), "no two of these arms are paired")
        return Headline(f"Nothing to compare: {reason}.", False, [], None)
    found = sorted((pair for pair in asked if pair.significant), key=lambda pair: -abs(pair.test.difference))
    if not found:
        return _nothing(asked, comparison.arms)
    first, *others = found
    rest = [f"{_difference(pair)}." for pair in others]
    rest += _missed([pair for pair in asked if not pair.significant])
    return Headline(f"{_difference(first)}.", True, rest, _sides(first, comparison.arms), _by_template(first))


def _accuracy(score: ArmScore) -> str:
    interval = f"95% CI {percent_interval(score.interval)}" if score.interval.known else f"{TOO_FEW} for an interval"
    if score.samples > 1:
        uneven = "up to " if score.n < score.samples * score.problems else ""
        return (
            f"{score.name}: mean accuracy {percent(score.accuracy)} ({interval}), "
            f"{counted(score.n, 'answer')}, {uneven}{score.samples} samples per problem."
        )
    solved = f"{score.correct} of {counted(score.n, 'problem')}"
    return f"{score.name} solves {solved}: {percent(score.accuracy)} ({interval})."


def _asked(comparison: Comparison) -> Sequence[Pair | StrategyPair]:
    """The comparisons for which the arms exist: priming, else any that were planned."""
    for family in (PRIMED, AGAINST_UNTRAINED):
        for pairs in (comparison.strategies, comparison.pairs):
            if members := [pair for pair in pairs if pair.family == family]:
                return members
    return comparison.pairs


def _difference(pair: Pair | StrategyPair) -> str:
    side = "over" if pair.test.difference > 0 else "compared with"
    return f"{_treatment(pair)}{pair.a}: {_points(pair)} {side} {pair.b} ({_interval(pair)})"


def _treatment(pair: Pair | StrategyPair) -> str:
    """What precedes the first arm's name in a sentence."""
    return "Priming with " if pair.family == PRIMED else ""


def _points(pair: Pair | StrategyPair) -> str:
    return f"{pair.test.difference * 100:+.1f} points"


def _missed(pairs: Sequence[Pair | StrategyPair]) -> list[str]:
    """The comparisons that show no significant difference."""
    if len(pairs) > _NAMED:
        return [f"{len(pairs)} other comparisons show no significant difference."]
    return [
        f"{_treatment(pair)}{pair.a}: no significant difference from {pair.b} ({_points(pair)}, {_interval(pair)})."
        for pair in pairs
    ]


def _nothing(asked: Sequence[Pair | StrategyPair], arms: Sequence[ArmScore]) -> Headline:
    """States that no difference is significant, and which differences could have been detected."""
    first = max(asked, key=lambda pair: abs(pair.test.difference))
    if len(asked) > 1:
        sentence = (
            f"No significant difference in {len(asked)} comparisons. The largest estimate is {_points(first)}, for "
            f"{_treatment(first).lower()}{first.a} compared with {first.b} ({_interval(first)})."
        )
    else:
        sentence = f"No significant difference between {first.a} and {first.b}: {_points(first)} ({_interval(first)})."
    reach = _reach([pair for pair in asked if isinstance(pair, Pair)])
    others = [pair for pair in asked if pair is not first]
    rest = [*reach, *(_missed(others) if len(others) <= _NAMED else [])]
    return Headline(sentence, False, rest, _sides(first, arms), _by_template(first))


def _by_template(pair: Pair | StrategyPair) -> str:
    """Whether the same difference holds if templates, not problems, are the sampling units."""
    over = pair.clustered
    if over is None:
        return ""
    measured = f"95% CI {points_interval(over.interval)}, unadjusted p = {p_text(over.p)}"
    shown = over.p < SIGNIFICANT
    if pair.significant and shown:
        return (
            "The difference also holds when templates rather than problems are the sampling units "
            f"({over.groups} templates: {measured}), so it generalises to other templates like these."
        )
    if not pair.significant:
        found = "significant" if shown else "not significant either"
        return (
            f"With templates rather than problems as the sampling units ({over.groups} templates: {measured}), the "
            f"difference is {found}."
        )
    least = over.smallest_p if isinstance(over, ClusterTest) else 0.0
    few = f"; the two differ on too few templates for p to be below {p_text(least)}" if least > SIGNIFICANT else ""
    alone = isinstance(pair, Pair)
    primed = alone and pair.family == PRIMED
    few_seeds = "With fewer than three seeds, the difference has not been shown for the strategies either."
    return (
        f"The difference has been shown for these {'students' if alone else 'strategies'} on problems from these "
        f"{over.groups} templates (p = {p_text(pair.p_holm)}), but not for other kinds of problem: with templates as "
        f"the sampling units, it is not significant ({measured}{few}).{f' {few_seeds}' if primed else ''}"
    )


def _reach(pairs: Sequence[Pair]) -> list[str]:
    """The smallest difference that pairs of students could have detected, and which pairs could not detect any."""
    known = [(pair.test.n, pair.detectable) for pair in pairs if pair.detectable is not None]
    blind = [pair for pair in pairs if pair.detectable is None]
    several = any(is_several(pair.samples) for pair in pairs)
    sentences = []
    if known:
        problems, largest = max(known, key=lambda item: item[1])
        some = f"{len(known)} of the {len(pairs)} comparisons"
        which = some if blind else "the comparison" if len(pairs) == 1 else "each comparison"
        found = f"a difference of {largest * 100:.1f} points"
        sentences.append(f"With {problems} problems, {which} could have detected {found}.")
    if len(blind) == 1:
        (pair,) = blind
        split = pair.test.only_a + pair.test.only_b
        few = "1 disagreement is" if split == 1 else f"{split} disagreements are"
        agree = "have the same accuracy" if several else "agree"
        sentences.append(
            f"{pair.a} and {pair.b} {agree} on {pair.test.n - split} of {pair.test.n} problems; {few} too few to show "
            "a difference."
        )
    elif blind:
        sentences.append(f"{len(blind)} pairs disagree on too few problems to show a difference.")
    return sentences


def _interval(pair: Pair | StrategyPair) -> str:
    interval = pair.test.interval
    if not interval.known:
        return f"{TOO_FEW} for an interval"
    sampled = f"; {samples_text(pair.samples)} per problem" if is_several(pair.samples) else ""
    return f"95% CI {interval.low * 100:+.1f} to {interval.high * 100:+.1f}{sampled}"


def _sides(pair: Pair | StrategyPair, arms: Sequence[ArmScore]) -> tuple[Side, Side]:
    if isinstance(pair, Pair):
        return Side(pair.a, [pair.a]), Side(pair.b, [pair.b])
    a, b = (Side(name, [arm.name for arm in arms if arm.group == name]) for name in (pair.a, pair.b))
    return a, b
