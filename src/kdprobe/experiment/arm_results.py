"""What a finished run knows of one arm."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class ArmResults:
    """One arm of a finished run.

    Attributes:
        name: The arm.
        strategy: Its strategy, or `None` for a control.
        distiller: Its distiller, or `None` for the untrained student.
        seed: Of its training.
        fidelity: Measurements of its transfer set, or `None`.
        kept: Problem and sample of the answers that it learnt from, or `None` where that were all.
        training: Adapter norm and history per optimiser step, or `None`.
        records: One per test problem.
        file: Where these are.
        adapter: The folder of its adapter, or `None`.
    """

    name: str
    strategy: str | None
    distiller: str | None
    seed: int
    fidelity: dict[str, Any] | None
    kept: list[list[Any]] | None
    training: dict[str, Any] | None
    records: list[dict[str, Any]]
    file: Path
    adapter: Path | None

    @property
    def accuracy(self) -> float:
        """Share of the problems that lm-eval counted as solved."""
        return sum(bool(record["correct"]) for record in self.records) / len(self.records)
