"""The results of lm-eval's tasks in `evaluate`: scores, paired changes and documents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdprobe.api.results.sections import Section, Tabled

if TYPE_CHECKING:
    import pandas as pd

    from kdprobe.comparison.tasks.retention import TaskChange
    from kdprobe.comparison.tasks.scores import TaskScore

KNOWN = ["cut_off", "truncated"]
SHOWN = ["student", "task", "metric", "n", "score", "interval_low", "interval_high", "cut_off", "truncated"]
CHANGES = ["task", "a", "b", "change", "low", "high", "margin", "outcome"]


@dataclass(frozen=True, eq=False, repr=False)
class TaskResults:
    """Models on lm-eval's tasks.

    Attributes:
        details: A `kdprobe.comparison.tasks.scores.TaskScore` for each model and task.
        changes_against_base: A `kdprobe.comparison.tasks.retention.TaskChange` for each adapter and task.
        files: The file with the documents, by task and model.
    """

    details: tuple[TaskScore, ...] = ()
    changes_against_base: tuple[TaskChange, ...] = ()
    files: Mapping[str, Mapping[str, Path]] | None = None

    @property
    def scores(self) -> pd.DataFrame:
        """A row per model and task; `interval_low` and `interval_high` are the 95% interval of the `score`."""
        from kdprobe.api.results.frames import frame
        from kdprobe.comparison.tasks.scores import TaskScore

        return frame(TaskScore, self.details)

    @property
    def changes(self) -> pd.DataFrame:
        """A row per task and adapter, against the model without one: `change` and its one-sided 95% bounds."""
        return changes_frame(self.changes_against_base)

    @property
    def documents(self) -> dict[str, dict[str, pd.DataFrame]]:
        """By task and model, a row per document: `doc_id`, `score`, `responses`, lm-eval's hashes, and more."""
        import pandas as pd

        return {
            task: {name: pd.read_parquet(file) for name, file in files.items()}
            for task, files in (self.files or {}).items()
        }

    def data(self) -> list[dict[str, Any]]:
        """The rows of `kdprobe eval --json`: scores, each with its change against the model without an adapter."""
        changes = {(change.task, change.a): _row(change) for change in self.changes_against_base}
        files = self.files or {}
        return [
            {
                "name": score.student,
                **asdict(score),
                "file": str(files[score.task][score.student]),
                "change": changes.get((score.task, score.student)),
            }
            for score in self.details
        ]

    def sections(self) -> Iterator[Section]:
        """The tables to display."""
        yield Tabled("Tasks", self.scores, SHOWN, KNOWN)
        yield Tabled("Changes against the model without an adapter", self.changes, CHANGES, ["margin", "outcome"])


def changes_frame(changes: Sequence[TaskChange]) -> pd.DataFrame:
    """A row per change."""
    import pandas as pd

    return pd.DataFrame([_row(change) for change in changes])


NO_TASKS = TaskResults()


def _row(change: TaskChange) -> dict[str, Any]:
    test = asdict(change.test)
    names = ("task", "metric", "a", "b", "margin", "p_holm", "outcome")
    return {**{name: getattr(change, name) for name in names}, **test}
