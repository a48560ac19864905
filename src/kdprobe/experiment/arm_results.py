"""The results of one arm of a finished run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kdprobe.experiment.stages.absence import overflow_sentence
from kdprobe.experiment.stages.distill import DIVERGED, divergence_sentence


@dataclass(frozen=True)
class ArmResults:
    """One arm of a finished run.

    Attributes:
        name: The arm.
        strategy: The display name of its strategy, or `None` for a control.
        distiller: Its distiller, or `None` for the untrained student.
        seed: The seed of its training.
        fidelity: Measurements of its transfer set, or `None`.
        kept: Problem and sample of each answer it learned from, or `None` if it learned from all.
        training: Adapter norm and history per optimiser step, or `None`; if training diverged, the reason.
        records: One per test problem; empty if its training diverged or its evaluation overflowed.
        file: The file with these records, or `None`.
        adapter: The folder of its adapter, or `None`.
        strategy_name: The name of the strategy itself, as listed by `kdprobe plugins`, or `None`.
        unprimed: Whether the teacher read the bare question.
        overflowed: `reason` and `hint` if the evaluation produced NaN or infinite numbers; otherwise `None`.
        tasks: The file with the documents of each task besides the deciding one, by its name; without those that the
            student could not be evaluated on.
        transfer: The folder of its transfer set, or `None`.
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
    tasks: Mapping[str, Path] = field(default_factory=dict)
    transfer: Path | None = None

    @property
    def other_name(self) -> str:
        """The name with the strategy's own name instead of its display name: `none@1` for `unprimed@1`."""
        if self.strategy is None or self.strategy_name is None:
            return self.name
        return f"{self.strategy_name}{self.name.removeprefix(self.strategy)}"

    @property
    def diverged(self) -> dict[str, Any] | None:
        """`step`, `reason` and `hint` if training diverged; otherwise `None`."""
        return (self.training or {}).get(DIVERGED)

    @property
    def absence(self) -> str:
        """Why it has no answers, as the end of a sentence; empty if it has answers."""
        if self.diverged:
            return divergence_sentence(self.diverged)
        return overflow_sentence(self.overflowed) if self.overflowed else ""

    @property
    def accuracy(self) -> float | None:
        """The share of problems that lm-eval counted as solved, or `None` if there are no answers."""
        if self.absence:
            return None
        return sum(bool(record["correct"]) for record in self.records) / len(self.records)
