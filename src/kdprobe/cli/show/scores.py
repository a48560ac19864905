"""Scores in the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from kdprobe.cli.show.tables import new_table, points
from kdprobe.console import out, plain

if TYPE_CHECKING:
    from rich.table import Table

    from kdprobe.comparison.scoring import Score


def show_scores(scores: Sequence[Score], names: Mapping[str, str]) -> None:
    """Scores of files, one row per file and extractor, then what does not depend on the extractor.

    Args:
        scores: All scores.
        names: What the answers of a file are called.
    """
    empty = any(score.empty for score in scores)
    table = new_table(
        "Scores", "answers", "extractor", "correct", "accuracy, 95 % CI", "no answer", *(["empty"] if empty else []),
        "cut off",
    )  # fmt: skip
    for score in scores:
        table.add_row(
            plain(names[score.file]),
            plain(score.extractor),
            f"{score.correct}/{score.n}",
            f"{score.accuracy:.1%}, {points(score.interval)}",
            f"{score.no_answer:.1%}",
            *([f"{score.empty:.1%}"] if empty else []),
            "unknown" if score.cut_off is None else f"{score.cut_off:.1%}",
        )
    out().print(table)
    out().print(other_measures({names[score.file]: score for score in scores}))


def other_measures(scores: Mapping[str, Score]) -> Table:
    """What tells models apart whose accuracies are at the floor."""
    scored = any(score.log_p_interval for score in scores.values())
    table = new_table(
        "Beside the accuracy: steps of arithmetic", "answers", "steps", "right, 95 % CI", "no step",
        *(["log p(gold), 95 % CI"] if scored else []),
    )  # fmt: skip
    for name, score in scores.items():
        steps, log_p = score.arithmetic, score.log_p_interval
        table.add_row(
            plain(name),
            str(steps.steps),
            f"{steps.share:.1%}, {points(steps.interval)}" if steps.steps else "none",
            f"{steps.silent / steps.answers:.1%}",
            *([f"{score.log_p_gold_value:.2f}, {log_p.low:.2f} to {log_p.high:.2f}"] if log_p else []),
        )
    return table
