"""What a finished run knows of one arm."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdprobe.experiment.stages.distill import DIVERGED, divergence_sentence
from kdprobe.experiment.stages.evaluate import overflow_sentence


@dataclass(frozen=True)
class ArmResults:
    """One arm of a finished run.

    Attributes:
        name: The arm.
        strategy: What the run calls its strategy, or `None` for a control.
        distiller: Its distiller, or `None` for the untrained student.
        seed: Of its training.
        fidelity: Measurements of its transfer set, or `None`.
        kept: Problem and sample of the answers that it learnt from, or `None` where that were all.
        training: Adapter norm and history per optimiser step, or `None`; of one that diverged, why.
        records: One per test problem; none where its training diverged or its evaluation overflowed.
        file: Where these are, or `None`.
        adapter: The folder of its adapter, or `None`.
        strategy_name: The strategy's own name, as `kdprobe plugins` lists it, or `None`.
        unprimed: Whether its teacher read the bare question.
        overflowed: Of an evaluation whose numbers were NaN or infinite, `reason` and `hint`; otherwise `None`.
    """

    name: str
    strategy: str | None
    distiller: str | None
    seed: int
    fidelity: dict[str, Any] | None
    kept: list[list[Any]] | None
    training: dict[str, Any] | None
    records: list[dict[str, Any]]
    file: Path | None
    adapter: Path | None
    strategy_name: str | None = None
    unprimed: bool = False
    overflowed: dict[str, Any] | None = None

    @property
    def other_name(self) -> str:
        """The name with the strategy's own name in place of what the run calls it: `none@1` for `unprimed@1`."""
        if self.strategy is None or self.strategy_name is None:
            return self.name
        return f"{self.strategy_name}{self.name.removeprefix(self.strategy)}"

    @property
    def diverged(self) -> dict[str, Any] | None:
        """Of a training that diverged, `step`, `reason` and `hint`."""
        return (self.training or {}).get(DIVERGED)

    @property
    def absence(self) -> str:
        """Why it has no answers, as the rest of a sentence; empty where it has."""
        if self.diverged:
            return divergence_sentence(self.diverged)
        return overflow_sentence(self.overflowed) if self.overflowed else ""

    @property
    def accuracy(self) -> float | None:
        """Share of the problems that lm-eval counted as solved, or `None` where there are no answers."""
        if self.absence:
            return None
        return sum(bool(record["correct"]) for record in self.records) / len(self.records)
