"""The history of training: the loss and its parts at every optimiser step."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor
from transformers import TrainerCallback

from kdprobe.console import Progress
from kdprobe.distill.distiller import DIVERGED
from kdprobe.errors import NonFiniteError
from kdprobe.models.processes import gathered


class History:
    """The loss and its parts, averaged over the response tokens of each optimiser step in all processes.

    Args:
        rows: The rows of steps already done.
    """

    def __init__(self, rows: list[dict[str, float]]) -> None:
        self.rows = rows
        self._sums: dict[str, float] = {}
        self._counts = {"rows": 0, "tokens": 0}

    def add(self, parts: dict[str, Tensor], tokens: int) -> None:
        """Adds a micro-batch.

        Args:
            parts: The parts of its loss, `[rows]`.
            tokens: The number of tokens the model read.
        """
        for name, values in parts.items():
            self._sums[name] = self._sums.get(name, 0.0) + float(values.detach().sum())
        self._counts["rows"] += len(parts["loss"])
        self._counts["tokens"] += tokens

    def close(self, step: int, learning_rate: float) -> int:
        """Ends an optimiser step; returns the number of tokens read in it.

        Raises:
            NonFiniteError: A part of its loss is NaN or infinite.
        """
        means, tokens = self.means(f"at training step {step}", step)
        self.rows.append({"step": step, **means, "learning_rate": learning_rate})
        return tokens

    def means(self, when: str, step: int) -> tuple[dict[str, float], int]:
        """Means of everything added since the last call, and the tokens read; then starts over.

        Args:
            when: A description of the time, as the end of a sentence.
            step: The step at or after which this happens.

        Raises:
            NonFiniteError: A part is NaN or infinite in any process; raised in all of them, so that none keeps waiting.
        """
        per_process = gathered((self._sums, self._counts))
        self._sums, self._counts = {}, {"rows": 0, "tokens": 0}
        # A process whose batches contained only fillers has no sums.
        names = dict.fromkeys(name for sums, _ in per_process for name in sums)
        rows, tokens = (sum(counts[kind] for _, counts in per_process) for kind in ("rows", "tokens"))
        means = {name: sum(sums.get(name, 0.0) for sums, _ in per_process) / rows for name in names}
        for name, value in means.items():
            if not math.isfinite(value):
                raise NonFiniteError(f"The {name.replace('_', ' ')} is {value} {when}.", DIVERGED, step=step)
        return means, tokens


class StepEnd(TrainerCallback):  # type: ignore[misc]  # transformers is untyped
    """Updates the progress bar and the history, with the learning rate, when an optimiser step ends."""

    def __init__(self, bar: Progress | None, history: History) -> None:
        self.bar, self.history = bar, history
        self.rate = 0.0

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Called when the gradient is complete."""
        self.rate = float(kwargs["optimizer"].param_groups[0]["lr"])

    def on_step_end(self, args: Any, state: Any, control: Any, **_kwargs: Any) -> None:  # noqa: ARG002
        """Called when the weights have been updated."""
        tokens = self.history.close(state.global_step, self.rate)
        if self.bar is not None:
            self.bar.advance(work=tokens)
