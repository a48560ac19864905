"""The answer to what a comparison asked, in one sentence, and what the answer refers to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kdprobe.comparison.arms import AGAINST_UNTRAINED, PRIMED
from kdprobe.comparison.result import ArmScore, Comparison, Pair
from kdprobe.comparison.strategy_tests import StrategyPair
from kdprobe.report.numbers import percent, percent_interval
from kdprobe.words import counted


@dataclass(frozen=True)
class Headline:
    """What came out.

    Attributes:
        sentence: The answer.
        shown: Whether it is a difference that the data show.
        rest: What came out of the other comparisons of the same kind, as sentences.
        pair: The two arms that the sentence is about, or `None` if it is about strategies or about nothing.
    """

    sentence: str
    shown: bool
    rest: list[str]
    pair: tuple[str, str] | None


def headline(comparison: Comparison) -> Headline:
    """The answer: the largest difference that is significant after adjustment, or that none is.

    Of a single arm with nothing to compare it with, its accuracy.
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
        return _nothing(asked)
    first, *others = found
    missed = len(asked) - len(found)
    rest = [f"{_difference(pair)}." for pair in others]
    if missed:
        rest.append(
            f"{missed} other {'comparison shows' if missed == 1 else 'comparisons show'} no significant difference."
        )
    return Headline(f"{_difference(first)}.", True, rest, _students(first))


def _accuracy(score: ArmScore) -> str:
    solved = f"{score.correct} of {counted(score.n, 'problem')}"
    return f"{score.name} solves {solved}: {percent(score.accuracy)} (95% CI {percent_interval(score.interval)})."


def _asked(comparison: Comparison) -> Sequence[Pair | StrategyPair]:
    """The comparisons that the arms are there for: priming, else any that were planned."""
    for family in (PRIMED, AGAINST_UNTRAINED):
        for pairs in (comparison.strategies, comparison.pairs):
            if members := [pair for pair in pairs if pair.family == family]:
                return members
    return comparison.pairs


def _difference(pair: Pair | StrategyPair) -> str:
    side = "over" if pair.test.difference > 0 else "against"
    return f"{_treatment(pair)}{pair.a}: {_points(pair)} {side} {pair.b} ({_interval(pair)})"


def _treatment(pair: Pair | StrategyPair) -> str:
    """What goes before the first arm's name."""
    return "Priming with " if pair.family == PRIMED else ""


def _points(pair: Pair | StrategyPair) -> str:
    return f"{pair.test.difference * 100:+.1f} points"


def _nothing(asked: Sequence[Pair | StrategyPair]) -> Headline:
    """That no difference is significant, and which could have been detected."""
    first = max(asked, key=lambda pair: abs(pair.test.difference))
    if len(asked) > 1:
        sentence = (
            f"No significant difference in {len(asked)} comparisons. The largest estimate is {_points(first)}, for "
            f"{_treatment(first).lower()}{first.a} compared with {first.b} ({_interval(first)})."
        )
    else:
        sentence = f"No significant difference between {first.a} and {first.b}: {_points(first)} ({_interval(first)})."
    return Headline(sentence, False, _reach([pair for pair in asked if isinstance(pair, Pair)]), _students(first))


def _reach(pairs: Sequence[Pair]) -> list[str]:
    """The smallest difference that pairs of students could have detected, and which pairs could have detected none."""
    known = [(pair.test.n, pair.detectable) for pair in pairs if pair.detectable is not None]
    blind = [pair.test for pair in pairs if pair.detectable is None]
    sentences = []
    if known:
        problems, largest = max(known, key=lambda item: item[1])
        some = f"{len(known)} of the {len(pairs)} comparisons"
        which = some if blind else "the comparison" if len(pairs) == 1 else "each comparison"
        found = f"a difference of {largest * 100:.1f} points"
        sentences.append(f"With {problems} problems, {which} could have detected {found}.")
    if len(blind) == 1:
        split = blind[0].only_a + blind[0].only_b
        few = "1 disagreement is" if split == 1 else f"{split} disagreements are"
        sentences.append(
            f"The two agree on {blind[0].n - split} of {blind[0].n} problems; {few} too few to show a difference."
        )
    elif blind:
        sentences.append(f"{len(blind)} pairs disagree on too few problems to show a difference.")
    return sentences


def _interval(pair: Pair | StrategyPair) -> str:
    interval = pair.test.interval
    if not interval.known:
        return "too few problems for an interval"
    return f"95% CI {interval.low * 100:+.1f} to {interval.high * 100:+.1f}"


def _students(pair: Pair | StrategyPair) -> tuple[str, str] | None:
    return (pair.a, pair.b) if isinstance(pair, Pair) else None
