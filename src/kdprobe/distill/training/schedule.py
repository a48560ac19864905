"""The number of training steps, and the learning rate at each step."""

from __future__ import annotations

import math
from dataclasses import dataclass

from kdprobe.distill.options import TrainingOptions
from kdprobe.models import processes


def learning_rate_factor(step: int, steps: int, warmup: float, schedule: str, *, epoch_steps: int = 1) -> float:
    """The factor applied to the peak learning rate at an optimiser step.

    All schedules but `cosine-per-epoch` stay above 0 until the end. That one is cosine annealing with a period of one
    epoch and no restart, like `torch.optim.lr_scheduler.CosineAnnealingLR` stepped beyond its `T_max`: the rate falls
    to 0 in the first epoch, rises again in the second, and falls in the third.

    Args:
        step: Counted from 0.
        steps: The number of steps.
        warmup: Share of the steps used for warm-up.
        schedule: `cosine`, `linear`, `constant` or `cosine-per-epoch`, after the warm-up.
        epoch_steps: Steps per epoch, for `cosine-per-epoch`.
    """
    warmup_steps = math.floor(warmup * steps)
    if step < warmup_steps:
        return (step + 1) / (warmup_steps + 1)
    if schedule == "cosine-per-epoch":
        return (1 + math.cos(math.pi * (step - warmup_steps) / epoch_steps)) / 2
    progress = min(1.0, (step - warmup_steps) / max(1, steps - warmup_steps))
    return {"cosine": (1 + math.cos(math.pi * progress)) / 2, "linear": 1 - progress, "constant": 1.0}[schedule]


@dataclass(frozen=True)
class Length:
    """The length of training in optimiser steps.

    Attributes:
        epoch: Steps per pass over the examples.
        schedule: Steps covered by the learning-rate schedule.
        stop: The last step to run.
    """

    epoch: int
    schedule: int
    stop: int

    @classmethod
    def of(cls, examples: int, options: TrainingOptions) -> Length:
        """The length for a number of examples and these options."""
        epoch = math.ceil(examples / (options.batch_size * options.accumulation * processes.count()))
        schedule = math.ceil(epoch * options.epochs)
        return cls(epoch, schedule, min(schedule, options.max_steps or schedule))
