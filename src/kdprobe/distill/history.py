"""The books of a training: the loss and its parts at every optimiser step."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers import TrainerCallback

from kdprobe.console import Progress


class History:
    """The loss and its parts, as means over the response tokens of each optimiser step.

    Args:
        rows: Of the steps that were done before.
    """

    def __init__(self, rows: list[dict[str, float]]) -> None:
        self.rows = rows
        self._sums: dict[str, float] = {}
        self._count = 0
        self._tokens = 0

    def add(self, parts: dict[str, Tensor], tokens: int) -> None:
        """Adds a micro-batch: its parts `[rows]`, and how many tokens the model read."""
        for name, values in parts.items():
            self._sums[name] = self._sums.get(name, 0.0) + float(values.detach().sum())
        self._count += len(parts["loss"])
        self._tokens += tokens

    def close(self, step: int, learning_rate: float) -> int:
        """Ends an optimiser step; returns the tokens read in it."""
        tokens = self._tokens
        self.rows.append({"step": step, **self.means(), "learning_rate": learning_rate})
        return tokens

    def means(self) -> dict[str, float]:
        """What was added since the last time, as means; starts afresh."""
        means = {name: total / self._count for name, total in self._sums.items()}
        self._sums, self._count, self._tokens = {}, 0, 0
        return means


class StepEnd(TrainerCallback):  # type: ignore[misc]  # transformers is untyped
    """Tells the bar and the books when an optimiser step ends, and at which rate it was."""

    def __init__(self, bar: Progress, history: History) -> None:
        self.bar, self.history = bar, history
        self.rate = 0.0

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **known: Any) -> None:  # noqa: ARG002
        """Called when the gradient is whole."""
        self.rate = float(known["optimizer"].param_groups[0]["lr"])

    def on_step_end(self, args: Any, state: Any, control: Any, **known: Any) -> None:  # noqa: ARG002
        """Called when the weights have moved."""
        self.bar.advance(work=self.history.close(state.global_step, self.rate))
