"""How many steps a training has, and how the learning rate moves from step to step."""

from __future__ import annotations

import math
from dataclasses import dataclass

from kdprobe.distill.options import TrainingOptions
from kdprobe.models import processes


def learning_rate_factor(step: int, steps: int, warmup: float, schedule: str, *, epoch_steps: int = 1) -> float:
    """What the peak learning rate is multiplied by at an optimiser step.

    All but `cosine-per-epoch` never reach 0 before the end. That one is cosine annealing with a period of one epoch
    and no restart, as `torch.optim.lr_scheduler.CosineAnnealingLR` does it when it is stepped beyond its `T_max`: the
    rate falls to 0 in the first epoch, climbs back in the second, falls in the third.

    Args:
        step: Counted from 0.
        steps: How many there are.
        warmup: Share of the steps that warm up.
        schedule: `cosine`, `linear`, `constant` or `cosine-per-epoch`, after the warm-up.
        epoch_steps: Steps in an epoch, for `cosine-per-epoch`.
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
    """How long a training is, in optimiser steps.

    Attributes:
        epoch: Steps in a pass over the examples.
        schedule: Steps that the learning rate is laid out over.
        stop: The last step that is made.
    """

    epoch: int
    schedule: int
    stop: int

    @classmethod
    def of(cls, examples: int, options: TrainingOptions) -> Length:
        """What the options make of a number of examples."""
        epoch = math.ceil(examples / (options.batch_size * options.accumulation * processes.count()))
        schedule = math.ceil(epoch * options.epochs)
        return cls(epoch, schedule, min(schedule, options.max_steps or schedule))
