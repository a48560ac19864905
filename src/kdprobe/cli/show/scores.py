"""Scores in the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from kdprobe.api.results.reading import reading_sentences
from kdprobe.cli.show.tables import nats, new_table, points, print_table, sentence_list, share
from kdprobe.console.streams import plain

if TYPE_CHECKING:
    from rich.table import Table

    from kdprobe.comparison.finding import Finding
    from kdprobe.comparison.scoring import Score


def show_scores(scores: Sequence[Score], names: Mapping[str, str], findings: Sequence[Finding], *, of: str) -> None:
    """Prints scores with one row per file and extractor, then what does not depend on the extractor, then findings.

    Args:
        scores: All scores.
        names: The name of each file's answers.
        findings: What may invalidate the scores.
        of: What the names name: the heading of their column.
    """
    empty = any(score.empty for score in scores)
    thinking = any(score.thinking for score in scores)
    table = new_table(
        "Scores", of, "extractor", "correct", "accuracy, 95% CI", "no answer", *(["empty"] if empty else []),
        "cut off", *(["thinking, unclosed"] if thinking else []),
    )  # fmt: skip
    for score in scores:
        table.add_row(
            plain(names[score.file]),
            plain(score.extractor),
            f"{score.correct}/{score.n}",
            f"{score.accuracy:.1%}, {points(score.interval)}",
            share(score.no_answer),
            *([share(score.empty)] if empty else []),
            share(score.cut_off),
            *([f"{share(score.thinking)}, {share(score.unclosed_thinking)}"] if thinking else []),
        )
    print_table(table)
    by_name = {names[score.file]: score for score in scores}
    for more in at_k_tables(by_name, of):
        print_table(more)
    print_table(other_measures(by_name, of))
    show_reading(by_name)
    show_findings(findings)


def show_findings(findings: Sequence[Finding]) -> None:
    """What may mislead."""
    sentence_list("Warnings", [str(finding) for finding in findings])


def show_reading(scores: Mapping[str, Score]) -> None:
    """Prints which columns were read, and other notes on how the files were read."""
    sentence_list("How the answers were read", reading_sentences(scores))


def at_k_tables(scores: Mapping[str, Score], of: str) -> list[Table]:
    """pass@k and maj@k, if problems have several samples; `of` is the heading of the names."""
    sampled = {name: score for name, score in scores.items() if score.at_k}
    if not sampled:
        return []
    table = new_table(
        "Several samples per problem: pass@k (any of k is correct), maj@k (the most frequent of k values is correct)",
        of, "samples", "measure", "value, 95% CI",
    )  # fmt: skip
    for name, score in sampled.items():
        for each in score.at_k:
            table.add_row(plain(name), str(score.samples), each.measure, f"{each.value:.1%}, {points(each.interval)}")
    return [table]


def other_measures(scores: Mapping[str, Score], of: str) -> Table:
    """Measures that can distinguish models whose accuracies are at the floor; `of` is the heading of the names."""
    scored = any(score.log_p_interval for score in scores.values())
    table = new_table(
        "Other measures: arithmetic steps", of, "steps", "correct, 95% CI", "no step",
        *(["log p(gold), 95% CI"] if scored else []),
    )  # fmt: skip
    for name, score in scores.items():
        steps, log_p = score.arithmetic, score.log_p_interval
        table.add_row(
            plain(name),
            str(steps.steps),
            f"{steps.share:.1%}, {points(steps.interval)}" if steps.steps else "none",
            "no text" if score.empty is None else f"{steps.silent / steps.answers:.1%}",
            *([f"{score.log_p_gold_value:.2f}, {nats(log_p)}"] if log_p else []),
        )
    return table
