"""Examples held out of training: their loss, when it stops training, and which weights were best.

Every decision depends only on the history, so that training resumed from a checkpoint decides the same way. The
validation loss is that of the objective: it compares steps of one training run, never different objectives.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import TrainerCallback

from kdprobe.distill.training.sharding import like, trained, whole_adapter
from kdprobe.errors import KdprobeError
from kdprobe.models.processes import is_main
from kdprobe.words import counted

LOSS = "validation_loss"
"""The history's column; only steps after which it was measured have it."""
_BEST = "kdprobe_best.safetensors"


def hold_out(examples: int, share: float, seed: int) -> tuple[list[int], list[int]]:
    """Splits this many examples into training and validation examples, by index in ascending order.

    Raises:
        KdprobeError: There are too few examples to hold any out.
    """
    if not share:
        return [*range(examples)], []
    count = max(1, round(share * examples))
    if count >= examples:
        raise KdprobeError(
            f"Holding out {share:.0%} of {counted(examples, 'example')} leaves none to train on.",
            "Increase problems.transfer, or lower the validation share.",
        )
    chosen = set(Random(seed).sample(range(examples), count))  # noqa: S311 - nothing secret
    return [index for index in range(examples) if index not in chosen], sorted(chosen)


def best_step(rows: Sequence[dict[str, float]]) -> int | None:
    """The first step with the smallest validation loss; `None` if none was measured."""
    measured = [row for row in rows if not math.isnan(row.get(LOSS, math.nan))]
    return int(min(measured, key=lambda row: row[LOSS])["step"]) if measured else None


def exhausted(rows: Sequence[dict[str, float]], patience: int | None) -> bool:
    """Whether as many validations as patience allows have passed since the best one."""
    best = best_step(rows)
    if patience is None or best is None:
        return False
    return sum(LOSS in row for row in rows if row["step"] > best) >= patience


class Validation(TrainerCallback):  # type: ignore[misc]  # transformers is untyped
    """Validates, stops training when patience is exhausted, and keeps the best weights in memory and checkpoints.

    Args:
        rows: The history.
        model: The model being trained.
        steps: Optimiser steps between validations; the last step always has one.
        patience: Validations without a new best that stop training; `None` never stops it.
        checkpoint: The checkpoint to resume from, or `None`.
    """

    def __init__(
        self, rows: list[dict[str, float]], model: Any, steps: int, patience: int | None, checkpoint: Path | None
    ) -> None:
        self.rows, self.model, self.steps, self.patience = rows, model, steps, patience
        best_file = checkpoint / _BEST if checkpoint else None
        self.best: dict[str, Tensor] | None = load_file(best_file) if best_file and best_file.is_file() else None

    def on_step_end(self, args: Any, state: Any, control: Any, **_kwargs: Any) -> None:  # noqa: ARG002
        """Requests a validation if one is due."""
        control.should_evaluate = state.global_step % self.steps == 0 or state.global_step >= state.max_steps

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Records the validation loss, and acts on it."""
        self.rows[-1][LOSS] = kwargs["metrics"]["eval_loss"]
        if self.patience is None:
            return
        if best_step(self.rows) == self.rows[-1]["step"]:
            self.best = whole_adapter(self.model)
        if exhausted(self.rows, self.patience):
            control.should_training_stop = True

    def on_save(self, args: Any, state: Any, control: Any, **_kwargs: Any) -> None:  # noqa: ARG002
        """Adds the best weights so far to a checkpoint."""
        if self.best is not None and is_main():
            save_file(self.best, Path(args.output_dir) / f"checkpoint-{state.global_step}" / _BEST)

    def restore(self) -> None:
        """Restores the best weights, if there are any."""
        if self.best is None:
            return
        with torch.no_grad():
            for name, weight in trained(self.model):
                weight.copy_(like(self.best[name], weight))
