"""What an observer receives about a finished stage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class FinishedStage:
    """A finished stage of a run.

    Attributes:
        run: The run's name.
        kind: `transfer`, `select`, `distill`, `evaluate` or `analyse`.
        name: Its name in this run: an arm, or an analysis.
        key: The hash of everything that determines it.
        folder: The folder with its files. Read only.
        seconds: How long it took, possibly in an earlier run.
        made: Whether this run produced it; otherwise it was reused.
        metrics: Its numbers by name, if it has any: accuracy, loss, retained mass.
    """

    run: str
    kind: str
    name: str
    key: str
    folder: Path
    seconds: float
    made: bool
    metrics: Mapping[str, float]
