"""lm-eval's tasks in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdprobe.cli.show.tables import new_table, print_table, share
from kdprobe.console.streams import plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from kdprobe.api.results.tasks import TaskResults
    from kdprobe.comparison.tasks.retention import TaskChange
    from kdprobe.comparison.tasks.scores import TaskScore


def show_tasks(tasks: TaskResults) -> None:
    """Prints the scores of models on tasks, and their changes against the model without an adapter."""
    if not tasks.details:
        return
    cut = any(score.cut_off for score in tasks.details)
    truncated = any(score.truncated for score in tasks.details)
    table = new_table(
        "Tasks", "task", "student", "metric", "documents", "score, 95% CI",
        *(["cut off"] if cut else []), *(["prompt truncated"] if truncated else []),
    )  # fmt: skip
    for score in tasks.details:
        table.add_row(
            plain(score.task),
            plain(score.student),
            plain(score.metric),
            str(score.n),
            score_text(score),
            *([share(score.cut_off)] if cut else []),
            *([share(score.truncated)] if truncated else []),
        )
    print_table(table)
    if tasks.changes_against_base:
        print_table(changes_table(tasks.changes_against_base))


def changes_table(changes: Sequence[TaskChange]) -> Table:
    """A row per change, with its one-sided 95% bounds."""
    table = new_table("Changes, document by document", "task", "a - b", "change", "95% bounds, one-sided")
    for change in changes:
        test = change.test
        table.add_row(
            plain(change.task),
            plain(f"{change.a} - {change.b}"),
            f"{test.change:+.3f}",
            f"above {test.low:+.3f}, below {test.high:+.3f}",
        )
    return table


def score_text(score: TaskScore) -> str:
    """The score with its interval, in the metric's unit."""
    interval = score.interval
    between = f"{interval.low:.3f} to {interval.high:.3f}" if interval.known else "too few documents"
    return f"{score.score:.3f}, {between}"
