"""Options of the distiller `trl-on-policy`."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from kdprobe.distill import LoraOptions


class OnPolicyOptions(BaseModel):
    """Options of training and sampling. The defaults are those of kdprobe's other distillers, not TRL's."""

    model_config = ConfigDict(extra="forbid")

    lora: LoraOptions = Field(default_factory=LoraOptions)
    epochs: float = Field(default=1, gt=0, description="Passes over the transfer problems; each generates new answers.")
    max_steps: int | None = Field(default=None, ge=1, description="Optimiser steps, instead of epochs.")
    batch_size: int = Field(default=8, ge=1, description="Problems per micro-batch.")
    accumulation: int = Field(default=1, ge=1, description="Micro-batches per optimiser step.")
    learning_rate: float = Field(default=2e-4, gt=0, description="Peak learning rate, with cosine decay.")
    warmup: float = Field(
        default=0.0, ge=0, lt=1, description="Share of warm-up steps; the first has a learning rate of 0."
    )
    max_grad_norm: float = Field(default=1.0, gt=0, description="Gradients are clipped to this norm.")
    max_new_tokens: int = Field(default=128, ge=1, description="Token budget of the student's answers.")
    temperature: float = Field(
        default=1.0,
        gt=0,
        description="Temperature of the student's sampling and of both distributions in the loss, as in TRL.",
    )
    beta: float = Field(
        default=1.0,
        ge=0,
        le=1,
        description="Generalised JSD (Agarwal et al., 2023, arXiv 2306.13649): 0 is the forward KL, 1 the reverse KL.",
    )
