"""Accuracies with intervals, and the planned differences from each baseline."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypedDict

from kdprobe.comparison.arms import AGAINST, ALL_PAIRS, PLANNED, PRIMED
from kdprobe.comparison.result import Comparison, Pair
from kdprobe.comparison.samples.words import is_several
from kdprobe.comparison.strategy_tests import StrategyPair
from kdprobe.console.streams import visible
from kdprobe.report.numbers import percent, percent_interval, points, points_interval
from kdprobe.stats.intervals import Interval
from kdprobe.stats.p_values import p_text


class ShownInterval(TypedDict):
    """An estimate with its 95% interval, as numbers for a chart (`None` if unknown) and as text."""

    value: float
    low: float | None
    high: float | None
    text: str
    interval: str


class ShownAccuracy(TypedDict):
    """The accuracy of an arm."""

    arm: str
    accuracy: ShownInterval
    solved: str


class ShownDifference(TypedDict):
    """An arm, or a strategy over its seeds, minus a baseline.

    Attributes:
        arm: The arm.
        against: The arm it is compared with.
        difference: Its accuracy minus that of the other.
        only: How many problems only `arm` solved, and how many only `against`; `None` for strategies.
        sampled: Whether means over several samples are compared, so that `only` counts the problems on which either
            has the higher one.
        p: The p-value, adjusted in its family.
        significant: Whether the two differ at 5%.
        detectable: The smallest difference that would have been found; empty if there is none or it is unknown.
    """

    arm: str
    against: str
    difference: ShownInterval
    only: tuple[int, int] | None
    sampled: bool
    p: str
    significant: bool
    detectable: str


class Baseline(TypedDict):
    """An arm or strategy that others are compared with.

    Attributes:
        name: Its name.
        label: Its name, and what the tests generalise over.
        rows: The differences, one for each arm that is compared with it.
        note: What the differences are, as a sentence.
    """

    name: str
    label: str
    rows: list[ShownDifference]
    note: str


def shown_accuracies(comparison: Comparison) -> list[ShownAccuracy]:
    """The accuracy of every arm with answers."""
    return [
        {
            "arm": visible(score.name),
            "accuracy": _interval(score.accuracy, score.interval, percent, percent_interval),
            "solved": f"{score.correct} of {score.n}{' answers' if score.samples > 1 else ''}",
        }
        for score in comparison.arms
    ]


def baselines(comparison: Comparison) -> list[Baseline]:
    """The planned baselines, the unprimed students first.

    Only planned ones, because the tests are adjusted for these: there is no adjustment for a baseline chosen after the
    fact. If nothing was planned, every arm is a baseline.
    """
    arms = {score.name: score for score in comparison.arms}
    found: dict[tuple[str, str], list[ShownDifference]] = {}
    for pair in comparison.pairs:
        if pair.family == ALL_PAIRS:
            found.setdefault((ALL_PAIRS, pair.b), []).append(_difference(pair))
            found.setdefault((ALL_PAIRS, pair.a), []).append(_difference(pair, swapped=True))
        else:
            # Every student is compared with the baseline's student of its own seed, or of its own name.
            name = arms[pair.b].group if pair.family in PLANNED else pair.family.removeprefix(AGAINST)
            found.setdefault((pair.family, name), []).append(_difference(pair))
    strategies: dict[tuple[str, str], list[ShownDifference]] = {}
    for tested in comparison.strategies:
        strategies.setdefault((tested.family, tested.b), []).append(_of_strategies(tested))
    over_seeds = "Over seeds and problems; p is Holm-adjusted within the family."
    several = any(is_several(pair.samples) for pair in comparison.pairs)
    test = "Exact sign-flip test of mean accuracies over problems" if several else "Exact McNemar test"
    over_problems = f"{test}; p is Holm-adjusted within the family."
    return [
        *_listed(strategies, "{}, over seeds", over_seeds),
        *_listed(found, "{}", over_problems),
    ]


def _listed(found: Mapping[tuple[str, str], list[ShownDifference]], label: str, note: str) -> Iterable[Baseline]:
    # The unprimed students come first, because priming is what experiments ask about.
    first = sorted(found.items(), key=lambda item: item[0][0] in PLANNED - {PRIMED})
    return [
        {"name": visible(name), "label": visible(label.format(name)), "rows": rows, "note": note}
        for (_, name), rows in first
    ]


def _difference(pair: Pair, *, swapped: bool = False) -> ShownDifference:
    test = pair.test
    sign = -1 if swapped else 1
    interval = Interval(-test.interval.high, -test.interval.low) if swapped else test.interval
    only = (test.only_b, test.only_a) if swapped else (test.only_a, test.only_b)
    return {
        "arm": visible(pair.b if swapped else pair.a),
        "against": visible(pair.a if swapped else pair.b),
        # Adding zero turns -0.0 into 0.0.
        "difference": _interval(sign * test.difference + 0.0, interval, points, points_interval),
        "only": only,
        "sampled": is_several(pair.samples),
        "p": p_text(pair.p_holm),
        "significant": pair.significant,
        "detectable": "" if pair.detectable is None else f"{pair.detectable * 100:.1f} points",
    }


def _of_strategies(pair: StrategyPair) -> ShownDifference:
    return {
        "arm": visible(pair.a),
        "against": visible(pair.b),
        "difference": _interval(pair.test.difference, pair.test.interval, points, points_interval),
        "only": None,
        "sampled": is_several(pair.samples),
        "p": p_text(pair.p_holm),
        "significant": pair.significant,
        "detectable": "",
    }


def _interval(
    value: float, interval: Interval, form: Callable[[float], str], form_interval: Callable[[Interval], str]
) -> ShownInterval:
    return {
        "value": value,
        "low": interval.low if interval.known else None,
        "high": interval.high if interval.known else None,
        "text": form(value),
        "interval": form_interval(interval),
    }
