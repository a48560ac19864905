"""Options of the built-in distillers."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from kdprobe.distill.kinds import PARAMETERS, Kind

if TYPE_CHECKING:
    from kdprobe.distill.objectives import Objective


ATTENTION: Final = "attention"
"""Stands for the linear projections of attention, under the names that the student's architecture gives them."""


class LoraOptions(BaseModel):
    """The adapter (Hu et al., 2021, arXiv 2106.09685)."""

    model_config = ConfigDict(extra="forbid")

    rank: int = Field(default=8, ge=1, description="Rank of the update.")
    alpha: float = Field(default=16, gt=0, description="Scale; the update is multiplied by alpha / rank.")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="Dropout on the adapter's input.")
    rslora: bool = Field(default=False, description="Scale by alpha / sqrt(rank) (Kalajdzievski, 2023).")
    dora: bool = Field(default=False, description="Also train the magnitude of every weight row (Liu et al., 2024).")
    target_modules: list[str] | Literal["attention", "all-linear"] = Field(
        default=ATTENTION, description="Linear layers with an adapter; `attention`: all attention projections."
    )


Tracker = Literal["tensorboard", "trackio", "mlflow", "wandb", "comet_ml", "clearml", "swanlab", "dvclive"]
"""Those of the transformers library's trackers whose package has the tracker's name."""


class TrainingOptions(BaseModel):
    """Options of training."""

    model_config = ConfigDict(extra="forbid")

    lora: LoraOptions = Field(default_factory=LoraOptions)
    epochs: float = Field(default=2, gt=0, description="Passes over the transfer problems.")
    max_steps: int | None = Field(
        default=None, ge=1, description="Stop after this many optimiser steps; the schedule itself is unchanged."
    )
    batch_size: int = Field(default=8, ge=1, description="Examples per micro-batch and process.")
    accumulation: int = Field(default=1, ge=1, description="Micro-batches per optimiser step.")
    gradient_checkpointing: bool = Field(
        default=False,
        # Left out of keys when off, so that they are those of versions without it.
        exclude_if=lambda on: not on,
        description="Keep only the inputs of layers, and compute the rest again in the backward pass: less memory, "
        "about a third slower.",
    )
    optimiser: Literal["adamw", "sgd"] = Field(default="adamw", description="AdamW, or plain gradient descent.")
    momentum: float = Field(default=0.0, ge=0, lt=1, description="Momentum of sgd.")
    learning_rate: float = Field(default=2e-4, gt=0, description="Peak learning rate.")
    schedule: Literal["cosine", "linear", "constant", "cosine-per-epoch"] = Field(
        default="cosine",
        description="How the rate falls after warm-up; `cosine-per-epoch` falls in each epoch, then rises again.",
    )
    warmup: float = Field(default=0.05, ge=0, lt=1, description="Share of the steps used for warm-up.")
    checkpoint_steps: int = Field(
        default=50, ge=1, description="Optimiser steps between checkpoints, from which interrupted training resumes."
    )
    validation: float = Field(
        default=0.0, ge=0, lt=1, description="Share of the transfer problems held out for validation."
    )
    validation_steps: int | None = Field(
        default=None, ge=1, description="Optimiser steps between validations; by default one epoch."
    )
    patience: int | None = Field(
        default=None,
        ge=1,
        description="Stop after this many validations without improvement, and keep the best weights.",
    )
    # Excluded from keys: watching training does not change it.
    report_to: list[Tracker] = Field(
        default=[], exclude=True, description="Trackers that receive every optimiser step as it happens."
    )
    weight_decay: float = Field(
        default=0.0, ge=0, description="Weight decay: decoupled from the gradient for adamw, added to it for sgd."
    )
    max_grad_norm: float = Field(
        default=1.0, ge=0, description="Gradients are clipped to this norm; 0 turns clipping off."
    )

    @model_validator(mode="after")
    def _optimiser_takes(self) -> Self:
        if self.momentum and self.optimiser != "sgd":
            raise ValueError(f"momentum is not a parameter of {self.optimiser}")
        return self

    @field_validator("report_to")
    @classmethod
    def _installed(cls, trackers: list[Tracker]) -> list[Tracker]:
        for tracker in trackers:
            spec = find_spec(tracker)
            # A folder that a tracker left behind is found under the tracker's name but has no `origin`.
            if spec is None or spec.origin is None:
                raise ValueError(f"{tracker} is not installed; `pip install {tracker}` installs it")
        return trackers

    @model_validator(mode="after")
    def _validates(self) -> Self:
        for name in ("validation_steps", "patience"):
            if getattr(self, name) and not self.validation:
                raise ValueError(f"{name} needs validation problems, but validation is 0")
        return self


class LogitsOptions(TrainingOptions):
    """Distillation on the teacher's log-probabilities: loss = alpha CE + (1 - alpha) T^2 D."""

    divergence: Kind = Field(default="forward-kl", description="The divergence D.")
    skew: float | None = Field(default=None, ge=0, lt=1, description="For the skew divergences; 0.1 by default.")
    beta: float | None = Field(default=None, gt=0, lt=1, description="For jsd, the teacher's weight; 0.5 by default.")
    temperature: float = Field(default=1.0, ge=0.01, description="Temperature T of both teacher and student.")
    alpha: float = Field(default=0.0, ge=0, le=1, description="Weight of the cross-entropy on the teacher's tokens.")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        parameter, _ = PARAMETERS.get(self.divergence, ("", 0.0))
        if foreign := sorted(set(self._parameters) - {parameter}):
            raise ValueError(f"{foreign[0]} is not a parameter of {self.divergence}")
        return self

    @property
    def _parameters(self) -> dict[str, float]:
        parameters = {"skew": self.skew, "beta": self.beta}
        return {name: value for name, value in parameters.items() if value is not None}

    @property
    def objective(self) -> Objective:
        """These options as the trainer takes them."""
        from kdprobe.distill.objectives import Objective

        return Objective(self.alpha, self.divergence, self.temperature, self._parameters)


class PublishedOptions(TrainingOptions):
    """The published recipe; with other values it is not a replication."""

    lora: LoraOptions = Field(default_factory=lambda: LoraOptions(rank=4, alpha=8, dropout=0.1))
    batch_size: int = Field(default=1, ge=1, description="Examples per micro-batch.")
    optimiser: Literal["adamw", "sgd"] = Field(default="sgd", description="AdamW, or plain gradient descent.")
    momentum: float = Field(default=0.9, ge=0, lt=1, description="Momentum of sgd.")
    learning_rate: float = Field(default=5e-6, gt=0, description="Peak learning rate.")
    schedule: Literal["cosine", "linear", "constant", "cosine-per-epoch"] = Field(
        default="cosine-per-epoch",
        description="How the rate falls; `cosine-per-epoch` rises again in the second epoch.",
    )
    warmup: float = Field(default=0.0, ge=0, lt=1, description="Share of the steps used for warm-up.")
    weight_decay: float = Field(default=1e-2, ge=0, description="Weight decay, added to the gradient.")
    max_grad_norm: float = Field(
        default=0.0, ge=0, description="Gradients are clipped to this norm; 0 turns clipping off."
    )
    temperature: float = Field(
        default=5.942267335064758, ge=0.01, description="Temperature T of both teacher and student."
    )
    alpha: float = Field(
        default=0.6093348343631224, ge=0, le=1, description="Weight of the cross-entropy on the gold answer's tokens."
    )
