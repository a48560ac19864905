"""Training a LoRA adapter on response rows, on `transformers.Trainer`.

The loss of an optimiser step is the sum over its response tokens divided by their number, across micro-batches and
ranks; a mean of means would weigh tokens by the company they keep.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from peft import get_peft_model
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments, set_seed

from kdprobe.console import Progress, note, progress
from kdprobe.distill.adapter import MAGNITUDE, adapter_norm, lora_config
from kdprobe.distill.checkpoints import Checkpoints, last_checkpoint
from kdprobe.distill.distiller import TrainContext, Trained
from kdprobe.distill.examples import IGNORED, Example, collate
from kdprobe.distill.head import head_loss, without_head
from kdprobe.distill.objectives import Objective, SparseLogprobs
from kdprobe.distill.options import TrainingOptions
from kdprobe.distill.schedule import learning_rate_factor
from kdprobe.models.load import LoadedModel, quiet


def train(
    student: LoadedModel,
    examples: Sequence[Example],
    objective: Objective,
    options: TrainingOptions,
    context: TrainContext,
) -> Trained:
    """Trains an adapter and writes it to `context.folder`; goes on from the last checkpoint in `context.scratch`.

    Args:
        student: The base model; its weights are frozen.
        examples: What to train on.
        objective: What to minimise at every response row.
        options: How long and how fast.
        context: Seed, folders and label.
    """
    set_seed(context.seed)
    with quiet():
        model = get_peft_model(student.model, lora_config(options.lora))
    model.train()
    pad = student.tokenizer.pad_token_id
    epoch_steps = math.ceil(len(examples) / (options.batch_size * options.accumulation))
    vocabulary = len(student.tokenizer)
    with (
        nullcontext(context.scratch) if context.scratch else TemporaryDirectory() as scratch,
        progress(context.label, math.ceil(epoch_steps * options.epochs), unit="tok") as bar,
        quiet(),
        without_head(model, vocabulary) as matrix,
    ):
        checkpoint = last_checkpoint(Path(scratch))
        history = _History(checkpoint[1] if checkpoint else [])
        trainer = _RowTrainer(
            model=model,
            args=_arguments(options, context.seed, scratch, student),
            train_dataset=list(examples),
            data_collator=lambda batch: collate(batch, pad, objective.temperature),
            callbacks=[_StepEnd(bar, history), Checkpoints(history.rows)],
            objective=objective,
            vocabulary=vocabulary,
            matrix=matrix,
            history=history,
            options=options,
            epoch_steps=epoch_steps,
        )
        # It would print every log line to stdout, where results belong.
        trainer.remove_callback(PrinterCallback)
        if checkpoint:
            note(f"{context.label}: going on after step {len(history.rows)}.")
            bar.advance(len(history.rows))
        trainer.train(resume_from_checkpoint=str(checkpoint[0]) if checkpoint else None)
    with quiet():
        # The name, not the folder it was loaded from: an adapter travels, a path does not.
        model.peft_config["default"].base_model_name_or_path = context.student.name
        model.save_pretrained(context.folder)
    return Trained(Path(context.folder), history.rows, adapter_norm(model))


class _History:
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
        means = {name: total / self._count for name, total in self._sums.items()}
        self.rows.append({"step": step, **means, "learning_rate": learning_rate})
        tokens, self._sums, self._count, self._tokens = self._tokens, {}, 0, 0
        return tokens


class _RowTrainer(Trainer):  # type: ignore[misc]  # transformers is untyped
    """A Trainer whose loss is taken on response rows only.

    Args:
        objective: What to minimise.
        vocabulary: How many real token ids there are.
        matrix: The output matrix that was taken off the model, or `None` where the model makes its logits itself.
        history: The books.
        options: The learning rate's schedule.
        epoch_steps: Optimiser steps in an epoch.
        arguments: The Trainer's own.
    """

    def __init__(
        self,
        *,
        objective: Objective,
        vocabulary: int,
        matrix: Tensor | None,
        history: _History,
        options: TrainingOptions,
        epoch_steps: int,
        **arguments: Any,
    ) -> None:
        super().__init__(**arguments)
        # Ask the Trainer for the number of response tokens in the whole optimiser step, and not to divide again.
        self.model_accepts_loss_kwargs = True
        self.objective, self.vocabulary, self.matrix, self.history = objective, vocabulary, matrix, history
        self.options, self.epoch_steps = options, epoch_steps
        self.lr_scheduler: LambdaLR | None

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """Our own factors: the libraries' warm-up spends the first step at a rate of zero."""
        if self.lr_scheduler is None:
            warmup, schedule = self.options.warmup, self.options.schedule
            self.lr_scheduler = LambdaLR(
                optimizer or self.optimizer,
                lambda step: learning_rate_factor(
                    step, num_training_steps, warmup, schedule, epoch_steps=self.epoch_steps
                ),
            )
        return self.lr_scheduler

    def get_decay_parameter_names(self, model: Any) -> list[str]:
        """All that the Trainer decays but DoRA's magnitudes, whose decay would shrink the base weights themselves."""
        return [name for name in super().get_decay_parameter_names(model) if MAGNITUDE not in name]

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        labels = inputs["labels"][:, 1:]
        wanted = labels != IGNORED
        # Position t predicts label t + 1. The head runs only where some sequence of the batch has a response.
        positions = wanted.any(dim=0).nonzero()[:, 0]
        outputs = model(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            logits_to_keep=positions,
            use_cache=False,
        )
        # Without its head the model gives hidden states where it would give logits.
        rows = outputs.logits[wanted[:, positions]]
        parts = self._parts(rows, labels[wanted], _teacher(inputs, self.objective.temperature))
        count = len(rows) if num_items_in_batch is None else num_items_in_batch
        self.history.add(parts, tokens=int(inputs["attention_mask"].sum()))
        loss = parts["loss"].sum() / count
        return (loss, outputs) if return_outputs else loss

    def _parts(self, rows: Tensor, labels: Tensor, teacher: SparseLogprobs | None) -> dict[str, Tensor]:
        if self.matrix is not None:
            return head_loss(rows, self.matrix, labels, teacher, self.objective)
        return self.objective.dense(rows[:, : self.vocabulary], labels, teacher)


def _teacher(inputs: dict[str, Tensor], temperature: float) -> SparseLogprobs | None:
    if "teacher_ids" not in inputs:
        return None
    return SparseLogprobs.from_stored(
        inputs["teacher_ids"], inputs["teacher_logprobs"], inputs["teacher_tail"], temperature
    )


class _StepEnd(TrainerCallback):  # type: ignore[misc]  # transformers is untyped
    """Tells the bar and the books when an optimiser step ends, and at which rate it was."""

    def __init__(self, bar: Progress, history: _History) -> None:
        self.bar, self.history = bar, history
        self.rate = 0.0

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **known: Any) -> None:  # noqa: ARG002
        self.rate = float(known["optimizer"].param_groups[0]["lr"])

    def on_step_end(self, args: Any, state: Any, control: Any, **known: Any) -> None:  # noqa: ARG002
        self.bar.advance(work=self.history.close(state.global_step, self.rate))


def _arguments(options: TrainingOptions, seed: int, scratch: Path | str, student: LoadedModel) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(scratch),
        per_device_train_batch_size=options.batch_size,
        gradient_accumulation_steps=options.accumulation,
        num_train_epochs=options.epochs,
        learning_rate=options.learning_rate,
        weight_decay=options.weight_decay,
        max_grad_norm=options.max_grad_norm,
        optim={"adamw": "adamw_torch", "sgd": "sgd"}[options.optimiser],
        optim_args=f"momentum={options.momentum}" if options.optimiser == "sgd" else None,
        seed=seed,
        use_cpu=student.device.type == "cpu",
        save_strategy="steps",
        save_steps=options.checkpoint_steps,
        # The one before last stays, for a kill in the middle of writing the last.
        save_total_limit=2,
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
    )
