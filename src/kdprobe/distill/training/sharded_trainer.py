"""A `RowTrainer` for a model whose weights FSDP2 divides among processes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import DistributedType
from torch.distributed.fsdp import FSDPModule
from transformers.trainer import OPTIMIZER_NAME, SCHEDULER_NAME

from kdprobe.distill.examples import Example
from kdprobe.distill.training.row_trainer import RowTrainer
from kdprobe.distill.training.sharding import load_whole_state, replicate_head, whole_adapter, whole_state
from kdprobe.errors import UsageError


class ShardedTrainer(RowTrainer):
    """Divides the model when training starts; its checkpoints are those of a model that is not divided.

    Arguments are those of `RowTrainer`. The output matrix is not divided: every process has all of it.

    Raises:
        UsageError: accelerate does not divide models on this kind of device, or the adapter changes the embeddings or
            the output matrix.
    """

    model: Any
    lr_scheduler: Any

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        _refuse_ends(self.model)
        state = self.accelerator.state
        if state.distributed_type is not DistributedType.FSDP:
            raise UsageError(
                f"accelerate divides models only among GPUs, but this process uses the device {self.args.device}.",
                "Launch without FSDP, or on a machine with a GPU for each process.",
            )
        if self.matrix is not None:
            weight, state.fsdp_plugin.ignored_modules = replicate_head(self.model, self.args.device)
            self.matrix = weight[: self.vocabulary]

    def train(self, resume_from_checkpoint: str | None = None, **known: Any) -> Any:
        """Trains; a checkpoint's adapter is loaded before the model is divided."""
        if resume_from_checkpoint:
            super()._load_from_checkpoint(resume_from_checkpoint)
        return super().train(resume_from_checkpoint=resume_from_checkpoint, **known)

    def refuse_diverged(self, example: Example) -> None:
        """As `RowTrainer` does, also if nothing was left to train."""
        if not isinstance(self.model, FSDPModule):
            self.create_optimizer()
            self.model, _ = self.accelerator.prepare(self.model, self.optimizer)
        super().refuse_diverged(example)

    def _measured(self, examples: Sequence[Example], when: str, step: int) -> float:
        loss = super()._measured(examples, when, step)
        # Without a backward pass after it, a forward pass leaves some weights whole.
        for module in self.model.modules():
            if isinstance(module, FSDPModule):
                module.reshard()
        return loss

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Writes the whole adapter; all processes must call it."""
        state = whole_adapter(self.model)
        if self.args.should_save:
            self._save(output_dir, state_dict=state)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Does nothing: the Trainer calls it when the model is already divided."""

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        state = whole_state(self.optimizer)
        if self.args.should_save:
            torch.save(state, Path(output_dir) / OPTIMIZER_NAME)
            torch.save(self.lr_scheduler.state_dict(), Path(output_dir) / SCHEDULER_NAME)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None:
            return
        optimiser, schedule = (
            torch.load(Path(checkpoint) / name, map_location="cpu", weights_only=True)
            for name in (OPTIMIZER_NAME, SCHEDULER_NAME)
        )
        load_whole_state(self.optimizer, optimiser)
        self.lr_scheduler.load_state_dict(schedule)


def _refuse_ends(model: Any) -> None:
    """Checks that the adapter leaves the model's input and output matrices alone, which accelerate divides together."""
    ends = (model.get_input_embeddings(), model.get_output_embeddings())
    if any(weight.requires_grad for end in ends for weight in end.parameters()):
        raise UsageError(
            "Under FSDP2, kdprobe does not train adapters on the embeddings or the output matrix.",
            'Leave them out of lora.target_modules, as "attention" does, or launch without FSDP.',
        )
