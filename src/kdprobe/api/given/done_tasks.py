"""Evaluates models on lm-eval's tasks, and reads the results."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from kdprobe.api.results.tasks import TaskResults
from kdprobe.comparison.tasks.retention import student_change
from kdprobe.comparison.tasks.scores import read_documents, task_score
from kdprobe.console import note
from kdprobe.experiment.stages.evaluate import write_records
from kdprobe.experiment.stages.task import DOCUMENTS

if TYPE_CHECKING:
    from kdprobe.experiment.stages.stage import Stage
    from kdprobe.experiment.store import Store

Files = dict[str, dict[str, Path]]
"""The file with the documents, by task and model."""


def document_names(stages: Mapping[str, Mapping[str, Stage]]) -> list[str]:
    """The names under which documents are copied, for each task and model."""
    return [_named(name, task) for task, models in stages.items() for name in models]


def _named(model: str, task: str) -> str:
    # With a slash, so that it differs from the name of any other model, of which the same file could be made.
    return f"{model}/{task}"


def done_tasks(store: Store, stages: Mapping[str, Mapping[str, Stage]], copies: Mapping[str, Path]) -> Files:
    """Makes the stages that are missing.

    Args:
        store: The store.
        stages: The stages by task and model.
        copies: The files to which documents are copied, by the names of `document_names`; empty if none are.

    Returns:
        The files in the store.
    """
    files: Files = {}
    for task, models in stages.items():
        for name, stage in models.items():
            if not store.make(stage):
                note(f"{task}, {name}: all documents are already in the store.")
            stored = files.setdefault(task, {})[name] = store.folder(stage) / DOCUMENTS
            if copies:
                write_records(stored, copies[_named(name, task)])
    return files


def task_results(files: Files, base: str | None) -> TaskResults:
    """Scores of all models on all tasks, and their changes compared with one of them.

    Args:
        files: The files with the documents.
        base: The model without an adapter, or `None` if there is nothing to compare with.
    """
    documents = {
        task: {name: read_documents(file, name, task) for name, file in models.items()}
        for task, models in files.items()
    }
    changes = [
        student_change(other, models[base])
        for models in documents.values()
        if base in models
        for name, other in models.items()
        if name != base
    ]
    details = [task_score(one) for models in documents.values() for one in models.values()]
    return TaskResults(tuple(details), tuple(changes), files)
