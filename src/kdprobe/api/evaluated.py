"""The result of evaluating models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdprobe.api.results.tasks import NO_TASKS, TaskResults
from kdprobe.api.score import ScoreResult

if TYPE_CHECKING:
    import pandas as pd

    from kdprobe.api.results.evaluated_students import EvaluatedStudents
    from kdprobe.api.results.sections import Section
    from kdprobe.models.conversation import Conversation


@dataclass(frozen=True, eq=False, repr=False)
class EvaluateResult(ScoreResult):
    """Scores of evaluated models.

    Attributes:
        files: For each model, the file of its records: in `out`, else in the store.
        stored: For each model, the file of its records in the store.
        conversation: What chat templates receive besides the messages.
        page: The page, if `out` is a folder.
        students: For each model that ran here, the student, with `load()`, `to_transformer_lens()` and `export()`.
        tasks: Scores on lm-eval's other tasks, with paired changes and documents.
        engine: The engine, its version and the data type of the weights; empty if kdprobe did not run the models.
        base: Name of the model without an adapter, if it was evaluated; `compare(result, baseline="base")` knows it.
    """

    files: dict[str, Path]
    stored: dict[str, Path]
    conversation: Conversation
    students: EvaluatedStudents
    base: str | None
    engine: str = ""
    page: Path | None = None
    tasks: TaskResults = NO_TASKS

    @property
    def records(self) -> dict[str, pd.DataFrame]:
        """For each model, a row per answer: `response`, `correct`, `log_p_gold_value` in nats, and more.

        `kdprobe.compare(result)` compares them.
        """
        import pandas as pd

        return {name: pd.read_parquet(file) for name, file in self.stored.items()}

    def _answers(self) -> Mapping[str, Any]:
        return self.files

    def _base(self) -> str | None:
        return self.base

    def _data(self) -> list[dict[str, Any]]:
        """The output of `kdprobe eval --json`."""
        engine = {"engine": self.engine} if self.engine else {}
        return [
            row | {"conversation": self.conversation.as_key(), **engine}
            for row in (*super()._data(), *self.tasks.data())
        ]

    def _sections(self) -> Iterator[Section]:
        yield from super()._sections()
        yield from self.tasks.sections()
