"""What an observer receives about a finished stage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class FinishedStage:
    """A stage of a run, finished.

    Attributes:
        run: The run's name.
        kind: `transfer`, `select`, `distill`, `evaluate` or `analyse`.
        name: What it is called in this run: an arm, or an analysis.
        key: The hash of all that decides it.
        folder: What it made, to read from; nothing may be written there.
        seconds: What making it took, perhaps in an earlier run.
        made: Whether this run made it; otherwise it existed already.
        metrics: Its numbers by name, where it has some: accuracy, loss, retained mass.
    """

    run: str
    kind: str
    name: str
    key: str
    folder: Path
    seconds: float
    made: bool
    metrics: Mapping[str, float]
