"""lm-eval's tasks in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdprobe.cli.show.tables import new_table, print_table, share
from kdprobe.comparison.tasks.verdict import amount, margin_text
from kdprobe.console.streams import out, plain
from kdprobe.words import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from kdprobe.api.results.tasks import TaskResults
    from kdprobe.comparison.tasks.result import TaskComparison
    from kdprobe.comparison.tasks.retention import TaskChange
    from kdprobe.comparison.tasks.scores import TaskScore
    from kdprobe.experiment.foresight.retention import RetentionPower


def show_tasks(tasks: TaskResults) -> None:
    """Prints the scores of models on tasks, and their changes against the model without an adapter."""
    for table in _tables(tasks.details, tasks.changes_against_base):
        print_table(table)


def task_tables(tasks: TaskComparison | None) -> list[Table]:
    """The scores of an experiment's students on its other tasks, and what they retained."""
    return _tables(tasks.scores, tasks.changes) if tasks else []


def show_retention_power(planned: Sequence[RetentionPower]) -> None:
    """Prints how likely the planned documents are to show that a student retained a task."""
    if not planned:
        return
    shares = list(planned[0].power)
    table = new_table(
        "Chance of showing retention, if a student lost nothing",
        "task", "documents", "margin", *(f"{share:.0%} differ" for share in shares),
    )  # fmt: skip
    for task in planned:
        cells = (f"{task.power[share]:.0%}" for share in shares)
        table.add_row(plain(task.task), f"{task.documents:,}", f"{task.margin:g}", *cells)
    print_table(table)
    typical = ", ".join(f"{counted(task.needed, 'document')} of {plain(task.task)}" for task in planned)
    out().print(
        "For metrics that judge each document as right or wrong. The share of documents that only one of the two "
        "students answers correctly is unknown before the run, so three shares are assumed. If 20% differ, an 80% "
        f"chance requires {typical}."
    )


def _tables(scores: Sequence[TaskScore], changes: Sequence[TaskChange]) -> list[Table]:
    if not scores:
        return []
    return [_scores_table(scores), *([_changes_table(changes)] if changes else [])]


def _scores_table(scores: Sequence[TaskScore]) -> Table:
    cut = any(score.cut_off for score in scores)
    truncated = any(score.truncated for score in scores)
    table = new_table(
        "Tasks", "task", "student", "metric", "documents", "score, 95% CI",
        *(["cut off"] if cut else []), *(["prompt truncated"] if truncated else []),
    )  # fmt: skip
    for score in scores:
        table.add_row(
            plain(score.task),
            plain(score.student),
            plain(score.metric),
            f"{score.n:,}",
            score_text(score),
            *([share(score.cut_off)] if cut else []),
            *([share(score.truncated)] if truncated else []),
        )
    return table


def _changes_table(changes: Sequence[TaskChange]) -> Table:
    """A row per change, with its one-sided 95% bounds."""
    judged = any(change.outcome for change in changes)
    table = new_table(
        "Changes, document by document", "task", "a - b", "change", "lower, upper bound (95%)",
        *(["margin", "outcome"] if judged else []),
    )  # fmt: skip
    for change in changes:
        test, unit = change.test, change.unit
        outcome = [margin_text(change), change.outcome] if change.outcome else ["", "reported only"]
        table.add_row(
            plain(change.task),
            plain(f"{change.a} - {change.b}"),
            amount(test.change, unit),
            f"{amount(test.low, unit)}, {amount(test.high, unit)}",
            *(outcome if judged else []),
        )
    return table


def score_text(score: TaskScore) -> str:
    """The score with its interval, in the metric's unit."""
    interval, points = score.interval, score.unit == "points"
    size, form = (100, ".1f") if points else (1, ".3g")
    between = (
        f"{interval.low * size:{form}} to {interval.high * size:{form}}" if interval.known else "too few documents"
    )
    return f"{score.score * size:{form}}{'%' if points else ''}, {between}"
