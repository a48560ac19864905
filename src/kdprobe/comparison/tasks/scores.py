"""The score of a student on a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from kdprobe.errors import KdprobeError
from kdprobe.stats.intervals import Interval, accuracy_interval
from kdprobe.stats.paired import weighted_interval


@dataclass(frozen=True, eq=False)
class Documents:
    """A student's documents of a task.

    Attributes:
        student: The student's name.
        task: The name of the task, group or tag.
        metric: The metric that scores a document; several, if the tasks of a group differ.
        higher_is_better: Whether a higher score is better.
        keys: Task, index and digest of each document.
        scores: The score of each document, `[n]`.
        weights: The weight of each document, `[n]`.
        prompts: lm-eval's hash of each document's prompt.
        cut_off: Share of answers that reached the token budget; `None` if unknown or if none are written.
        truncated: Share of documents whose beginning did not fit into the context window; `None` if unknown.
    """

    student: str
    task: str
    metric: str
    higher_is_better: bool
    keys: list[tuple[str, int, str]]
    scores: NDArray[np.float64]
    weights: NDArray[np.float64]
    prompts: list[str]
    cut_off: float | None
    truncated: float | None

    @property
    def is_share(self) -> bool:
        """Whether every document is right or wrong."""
        return bool(np.isin(self.scores, (0.0, 1.0)).all() and (self.weights == 1).all())

    @property
    def unit(self) -> str:
        """`points` if every document is right or wrong, `nats` for log-likelihoods, or nothing."""
        if self.is_share:
            return "points"
        return "nats" if "perplexity" in self.metric or "bits_per_byte" in self.metric else ""


@dataclass(frozen=True)
class TaskScore:
    """A student's score on a task.

    Attributes:
        student: The student's name.
        task: The name of the task, group or tag.
        metric: The metric; for perplexities the score is the log-likelihood in nats, per word or byte where the metric
            is.
        n: Number of documents.
        score: The mean over documents, weighted where the metric is per word or byte.
        interval: Its 95% interval over documents.
        unit: The unit of the score: `points` (as a share), `nats`, or nothing.
        higher_is_better: Whether a higher score is better.
        cut_off: Share of answers that reached the token budget; `None` if unknown or if none are written.
        truncated: Share of documents whose beginning did not fit into the context window; `None` if unknown.
    """

    student: str
    task: str
    metric: str
    n: int
    score: float
    interval: Interval
    unit: str
    higher_is_better: bool
    cut_off: float | None
    truncated: float | None


def read_documents(file: Path, student: str, task: str) -> Documents:
    """Reads the documents of a task's stage.

    Args:
        file: The file with a record per document.
        student: The student's name.
        task: The name of the task, group or tag.

    Raises:
        KdprobeError: The tasks of a group have metrics of opposite directions, which have no mean.
    """
    rows = pq.read_table(file).to_pylist()
    if len({row["higher_is_better"] for row in rows}) > 1:
        raise KdprobeError(
            f"The tasks in {task!r} cannot be averaged: higher is better for some of their metrics, lower for others.",
            "Evaluate them one by one, or set the metric.",
        )
    return Documents(
        student=student,
        task=task,
        metric=", ".join(dict.fromkeys(row["metric"] for row in rows)),
        higher_is_better=rows[0]["higher_is_better"],
        keys=[(row["task"], row["doc_id"], row["doc_hash"]) for row in rows],
        scores=np.array([row["score"] for row in rows], dtype=float),
        weights=np.array([row["weight"] for row in rows], dtype=float),
        prompts=[row["prompt_hash"] for row in rows],
        cut_off=_share(rows, "cut_off"),
        truncated=_share(rows, "truncated"),
    )


def task_score(documents: Documents) -> TaskScore:
    """The score over all documents, with its interval."""
    scores, n = documents.scores, len(documents.scores)
    share = documents.is_share
    interval = accuracy_interval(int(scores.sum()), n) if share else weighted_interval(scores, documents.weights)
    return TaskScore(
        student=documents.student,
        task=documents.task,
        metric=documents.metric,
        n=n,
        score=float(np.average(scores, weights=documents.weights)),
        interval=interval,
        unit=documents.unit,
        higher_is_better=documents.higher_is_better,
        cut_off=documents.cut_off,
        truncated=documents.truncated,
    )


def _share(rows: Sequence[Mapping[str, Any]], name: str) -> float | None:
    known = [bool(row[name]) for row in rows if row[name] is not None]
    return sum(known) / len(known) if known else None
