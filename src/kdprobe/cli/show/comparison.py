"""Comparisons in the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kdprobe.cli.show.leaks import leak_tables
from kdprobe.cli.show.scores import at_k_tables, other_measures, show_findings, show_reading
from kdprobe.cli.show.tables import nats, new_table, points, print_table, sentence_list, share
from kdprobe.cli.show.tasks import task_tables
from kdprobe.comparison.samples.words import is_several
from kdprobe.console.streams import plain

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from kdprobe.comparison.result import AbsentArm, ArmScore, Comparison, Pair
    from kdprobe.comparison.strategy_tests import StrategyPair


def show_comparison(comparison: Comparison) -> None:
    """Prints scores, pairs, findings and the verdict."""
    for table in comparison_tables(comparison):
        print_table(table)
    show_reading({score.name: score for score in comparison.arms})
    sentence_list("Pairing", [comparison.pairing] if comparison.pairing else [])
    show_absent(comparison.absent)
    show_findings(comparison.findings)
    sentence_list("Which arm solves more problems?", comparison.verdict)


def show_absent(arms: Sequence[AbsentArm]) -> None:
    """Prints which arms have no answers, and why."""
    sentence_list("Arms without answers", [absence(arm) for arm in arms])


def comparison_tables(comparison: Comparison) -> list[Table]:
    """Prints accuracies, then one table per family of Holm's adjustment."""
    tables: dict[str, Table] = {}
    for pair in comparison.pairs:
        if pair.family not in tables:
            several = any(is_several(each.samples) for each in comparison.pairs if each.family == pair.family)
            tables[pair.family] = _pair_table(f"{pair.family[0].upper()}{pair.family[1:]}", several=several)
        tables[pair.family].add_row(*_pair_row(pair))
    if not comparison.arms:
        return []
    return [
        _accuracies(comparison.arms),
        *at_k_tables({score.name: score for score in comparison.arms}, "arm"),
        other_measures({score.name: score for score in comparison.arms}, "arm"),
        *tables.values(),
        *_pair_at_k(comparison.pairs),
        _pair_measures(comparison.pairs),
        *_strategy_tables(comparison.strategies),
        *task_tables(comparison.tasks),
        *leak_tables(comparison.leaks),
    ]


def absence(arm: AbsentArm) -> str:
    """Says why an arm has no score, and which pairs were planned with it."""
    pairs = f" Not compared: {', '.join(arm.pairs)}." if arm.pairs else ""
    return f"{arm.name} {arm.reason}{pairs}"


def _strategy_tables(pairs: Sequence[StrategyPair]) -> list[Table]:
    """Prints tests of strategies, over seeds and problems."""
    if not pairs:
        return []
    from kdprobe.stats.p_values import p_text

    table = new_table(
        "Strategies, over seeds and problems (Student's t, Holm)",
        "a - b", "points", "95% CI", "seeds", "between seeds", "p", "p (Holm)",
    )  # fmt: skip
    for pair in pairs:
        test = pair.test
        table.add_row(
            plain(f"{pair.a} - {pair.b}"),
            f"{test.difference * 100:+.1f}",
            points(test.interval, "+.1f"),
            f"{test.seeds_a}, {test.seeds_b}",
            f"{test.spread_a * 100:.1f}, {test.spread_b * 100:.1f}",
            p_text(test.p),
            p_text(pair.p_holm),
        )
    return [table]


def _accuracies(scores: Sequence[ArmScore]) -> Table:
    scored = any(score.log_p_gold_value is not None for score in scores)
    thinking = any(score.thinking for score in scores)
    by = "judged by" if scores[0].no_answer is None else "extractor:"
    table = new_table(
        f"Accuracy on the test problems ({by} {scores[0].extractor})",
        "arm", "correct", "accuracy", "95% CI", *(["log p(gold)"] if scored else []), "cut off", "no answer",
        *(["thinking, unclosed"] if thinking else []),
    )  # fmt: skip
    for score in scores:
        log_p = "" if score.log_p_gold_value is None else f"{score.log_p_gold_value:.2f}"
        table.add_row(
            plain(score.name),
            f"{score.correct}/{score.n}",
            f"{score.accuracy:.1%}",
            points(score.interval),
            *([log_p] if scored else []),
            share(score.cut_off, ".0%"),
            share(score.no_answer, ".0%"),
            *([f"{share(score.thinking, '.0%')}, {share(score.unclosed_thinking, '.0%')}"] if thinking else []),
        )
    return table


def _pair_table(title: str, *, several: bool) -> Table:
    test, counts = ("mean accuracies: exact sign flips", "higher a : b") if several else ("exact McNemar", "only a : b")
    return new_table(f"{title} ({test}, Holm)", "a - b", "points", "95% CI", counts, "p", "p (Holm)")


def _pair_row(pair: Pair) -> list[str | Text]:
    from kdprobe.stats.p_values import p_text

    test = pair.test
    return [
        plain(f"{pair.a} - {pair.b}"),
        f"{test.difference * 100:+.1f}",
        points(test.interval, "+.1f"),
        f"{test.only_a} : {test.only_b}",
        p_text(test.p),
        p_text(pair.p_holm),
    ]


def _pair_at_k(pairs: Sequence[Pair]) -> list[Table]:
    """Differences in pass@k and maj@k, if problems have several samples; not adjusted for multiplicity."""
    rows = {(pair.a, pair.b): pair for pair in pairs if pair.at_k}
    if not rows:
        return []
    from kdprobe.stats.p_values import p_text

    title = "pass@k and maj@k, in points (sign flips, not adjusted)"
    table = new_table(title, "a - b", "measure", "points, 95% CI", "p")
    for (a, b), pair in rows.items():
        for each in pair.at_k:
            difference = f"{each.difference * 100:+.1f}, {points(each.interval, '+.1f')}"
            table.add_row(plain(f"{a} - {b}"), each.measure, difference, p_text(each.p))
    return [table]


def _pair_measures(pairs: Sequence[Pair]) -> Table:
    """Prints measures that can distinguish arms whose accuracies are at the floor; not adjusted for multiplicity."""
    scored = any(pair.log_p_interval for pair in pairs)
    table = new_table(
        "Other measures, with 95% CI", "a - b", "correct steps, points", *(["log p(gold), nats"] if scored else []),
    )  # fmt: skip
    rows = {(pair.a, pair.b): pair for pair in pairs}
    for (a, b), pair in rows.items():
        steps, log_p = pair.arithmetic, pair.log_p_interval
        table.add_row(
            plain(f"{a} - {b}"),
            f"{steps.difference * 100:+.1f}, {points(steps.interval, '+.1f')}" if steps.known else "n/a",
            *([f"{pair.log_p_difference:+.2f}, {nats(log_p, '+.2f')}"] if log_p else []),
        )
    return table
