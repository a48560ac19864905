"""Evaluated models in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdprobe.cli.show.scores import show_scores
from kdprobe.cli.show.tasks import show_tasks
from kdprobe.console import note

if TYPE_CHECKING:
    from kdprobe.api.evaluated import EvaluateResult


def show_evaluated(result: EvaluateResult) -> None:
    """Prints scores on the problems and on other tasks, and where the records are."""
    if result.details:
        names = {str(file): name for name, file in result.files.items()}
        show_scores(result.details, names, result.findings, of="model")
    show_tasks(result.tasks)
    if result.engine:
        note(f"Engine: {result.engine}")
    if result.conversation.sentence:
        note(result.conversation.sentence)
    for name, file in result.files.items():
        note(f"Records of {name}: {file}")
    if result.page:
        note(f"Page: {result.page}")
