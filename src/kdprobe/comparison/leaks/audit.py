"""Looks for traces of priming in students' answers: hedging, self-correction, talk about a hint, and quotes.

The teacher was primed and the student was not. Whatever the student's answers say about the priming, they say about
something that the reader of the answer never saw. Rates are compared with those of the unprimed students, paired by
problem, over all seeds that both strategies have.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace

from kdprobe.comparison.arms import AGAINST, PRIMED, Arm, Families
from kdprobe.comparison.leaks.marked_answers import PHRASES, mark_outputs
from kdprobe.comparison.leaks.rates import Known, Pairs, phrase_rate, quote_rate, taught
from kdprobe.comparison.leaks.result import AnswerLength, LeakAudit, LeakRate
from kdprobe.comparison.leaks.teaching import Teaching
from kdprobe.comparison.pairing import Pairing
from kdprobe.stats.p_values import holm
from kdprobe.stats.rates.more_often import MoreOften
from kdprobe.stats.rates.over_students import over_students


def leak_audit(
    arms: Sequence[Arm], planned: Families, pairing: Pairing, teaching: Mapping[str, Teaching] | None = None
) -> LeakAudit | None:
    """The rates of all arms, tested where it is known which arm is unprimed.

    That is an experiment's unprimed strategy, or a baseline that the other arms are compared with.

    Args:
        arms: The arms with answers, one to each problem.
        planned: The pairs of the comparison, by family.
        pairing: The answers by problem.
        teaching: What is known of strategies, by name.

    Returns:
        The audit; `None` if no arm has the texts of its answers.
    """
    marked = {arm.name: answers for arm in arms if (answers := mark_outputs(arm.outputs))}
    if not marked:
        return None
    known = Known(marked, pairing, {name: taught(name, strategy) for name, strategy in (teaching or {}).items()})
    members, pairs = _groups([arm for arm in arms if arm.name in marked], planned)
    rates = [rate for name, students in members.items() for rate in _rates(name, students, pairs.get(name, {}), known)]
    lengths = [
        AnswerLength(arm.name, marked[arm.name].mean_words, _mean_tokens(arm)) for arm in arms if arm.name in marked
    ]
    return LeakAudit(_adjusted(rates), lengths, any(arm.outputs.samples is not None for arm in arms))


def _adjusted(rates: Sequence[LeakRate]) -> list[LeakRate]:
    """The rates with p-values over students, where there are enough, adjusted over all arms and kinds."""
    tests: dict[int, MoreOften] = {}
    for kind in {rate.kind for rate in rates}:
        tested = {index: rate.test for index, rate in enumerate(rates) if rate.kind == kind and rate.test}
        sides = [_sides(rates[index]) for index in tested]
        tests |= dict(zip(tested, over_students([*tested.values()], sides), strict=True))
    adjusted = dict(zip(tests, holm([test.p for test in tests.values()]), strict=True))
    return [replace(rate, test=tests.get(index), p_holm=adjusted.get(index)) for index, rate in enumerate(rates)]


def _sides(rate: LeakRate) -> tuple[Hashable, Hashable]:
    """What a test compares: the same unprimed rate in all tests of phrases, but another for each priming's quotes."""
    of = (rate.name, rate.against) if rate.kind == "quote" else rate.kind
    return (of, rate.name), (of, rate.against)


def _groups(arms: Sequence[Arm], planned: Families) -> tuple[dict[str, list[Arm]], dict[str, dict[str, Pairs]]]:
    """The students of each strategy, and its pairs by the unprimed strategy; without strategies, single arms."""
    present = {arm.name for arm in arms}
    to_baseline = any(family.startswith(AGAINST) for family in planned)
    by_strategy = any(arm.strategy for arm in arms) and not to_baseline
    members: dict[str, list[Arm]] = {}
    pairs: dict[str, dict[str, Pairs]] = {}
    for arm in arms:
        members.setdefault(arm.group if by_strategy else arm.name, []).append(arm)
    for family, planned_pairs in planned.items():
        asked = [(a, b) for a, b in planned_pairs if {a.name, b.name} <= present]
        if family == PRIMED:
            for a, b in asked:
                pairs.setdefault(a.group, {}).setdefault(b.group, []).append((a, b))
        elif family.startswith(AGAINST) and len({b.name for _, b in asked}) == 1:
            pairs |= {a.name: {b.name: [(a, b)]} for a, b in asked}
    return members, pairs


def _rates(name: str, members: Sequence[Arm], against: Mapping[str, Pairs], known: Known) -> list[LeakRate]:
    primed = name in known.taught and known.taught[name].quotes.grams
    rates = []
    for base, pairs in against.items() or [(None, [])]:
        rates += [phrase_rate(kind, name, members, (base, pairs), known) for kind in PHRASES]
        rates += [quote_rate(name, members, (base, pairs), known)] if primed else []
    return rates


def _mean_tokens(arm: Arm) -> float | None:
    tokens = arm.outputs.tokens
    return None if tokens is None else sum(tokens) / len(tokens)
