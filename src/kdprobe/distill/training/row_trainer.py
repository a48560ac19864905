"""A `transformers.Trainer` whose loss covers response rows only.

The loss of an optimiser step is the sum over its response tokens divided by their number, across micro-batches and
ranks; with a mean of means, a token's weight would depend on its batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR
from transformers import Trainer

from kdprobe.distill.examples import IGNORED, Example
from kdprobe.distill.objectives import Objective, SparseLogprobs
from kdprobe.distill.options import TrainingOptions
from kdprobe.distill.sparse_kd import sparse_kd_loss
from kdprobe.distill.training.history import History
from kdprobe.distill.training.order import EvenOrder
from kdprobe.distill.training.schedule import Length, learning_rate_factor
from kdprobe.models import processes
from kdprobe.models.merging.lora import MAGNITUDE
from kdprobe.words import counted


class RowTrainer(Trainer):  # type: ignore[misc]  # transformers is untyped
    """A Trainer for examples as made by `collate`.

    Args:
        objective: What to minimise.
        vocabulary: The number of real token ids.
        matrix: The output matrix detached from the model, or `None` if the model computes its logits itself.
        history: Where the losses are recorded.
        options: The learning rate's schedule.
        length: The length of the schedule.
        held_out: The examples to validate on.
        arguments: Arguments of the Trainer.
    """

    def __init__(
        self,
        *,
        objective: Objective,
        vocabulary: int,
        matrix: Tensor | None,
        history: History,
        options: TrainingOptions,
        length: Length,
        held_out: Sequence[Example],
        **arguments: Any,
    ) -> None:
        super().__init__(**arguments)
        # Makes the Trainer pass the number of labels in the whole optimiser step, and not divide again. A label is
        # stored at the position that predicts it, so the first one counts too.
        self.model_accepts_loss_kwargs = True
        self._loss_shifts_labels = False
        self.objective, self.vocabulary, self.matrix, self.history = objective, vocabulary, matrix, history
        self.options, self.length, self.held_out = options, length, held_out
        self.lr_scheduler: LambdaLR | None
        self.control: Any

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:  # noqa: ARG002
        """Uses our own factors, because the libraries' warm-up spends the first step at a rate of zero."""
        if self.lr_scheduler is None:
            warmup, schedule = self.options.warmup, self.options.schedule
            self.lr_scheduler = LambdaLR(
                optimizer or self.optimizer,
                lambda step: learning_rate_factor(
                    step, self.length.schedule, warmup, schedule, epoch_steps=self.length.epoch
                ),
            )
        return self.lr_scheduler

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        """One process trains in the library's order; several use the same order, with fillers to divide evenly."""
        if processes.count() == 1:
            return super()._get_train_sampler(train_dataset)
        examples_at_once = self.options.batch_size * processes.count()
        return EvenOrder(
            len(self.train_dataset) - 1,
            examples_at_once,
            self.args.seed,
            epoch=lambda: self.state.global_step // self.length.epoch,
        )

    def get_decay_parameter_names(self, model: Any) -> list[str]:
        """What the Trainer decays, without DoRA's magnitudes, whose decay would shrink the base weights."""
        return [name for name in super().get_decay_parameter_names(model) if MAGNITUDE not in name]

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The summed loss of this micro-batch's rows, divided by the number of rows in the whole optimiser step."""
        labels = inputs["labels"]
        labelled = labels != IGNORED
        # The head runs only at positions where some sequence of the batch has a label.
        positions = labelled.any(dim=0).nonzero()[:, 0]
        outputs = model(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            logits_to_keep=positions,
            use_cache=False,
        )
        # With its head detached, the model returns hidden states instead of logits.
        rows = outputs.logits[labelled[:, positions]]
        if not len(rows):  # Only fillers: a zero gradient, for the other processes to add to.
            return (outputs.logits.sum(), outputs) if return_outputs else outputs.logits.sum()
        parts = self._parts(rows, labels[labelled], _teacher(inputs, self.objective.temperature))
        count = len(rows) if num_items_in_batch is None else num_items_in_batch
        self.history.add(parts, tokens=int(inputs["attention_mask"].sum()))
        # Gradients are averaged over processes, while the count covers all of them.
        loss = parts["loss"].sum() / count * self.accelerator.num_processes
        return (loss, outputs) if return_outputs else loss

    def evaluate(self, *_args: Any, **_kwargs: Any) -> dict[str, float]:
        """The loss on the held-out examples, averaged over all their response tokens."""
        step = self.state.global_step
        loss = self._measured(self.held_out, f"during validation after step {step}", step)
        metrics = {"eval_loss": loss}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def refuse_diverged(self, example: Example) -> None:
        """Computes the loss on an example once more, since the last step is not followed by another loss.

        Raises:
            NonFiniteError: The loss on it is NaN or infinite.
        """
        steps = len(self.history.rows)
        self._measured([example] * processes.count(), f"after {counted(steps, 'training step')}", steps)

    def _measured(self, examples: Sequence[Example], when: str, step: int) -> float:
        """The mean loss of the current model; arguments and errors as for `History.means`."""
        history, self.history = self.history, History([])
        self.model.eval()
        with torch.no_grad():
            own = examples[processes.rank() :: processes.count()]
            # As many passes in every process, because those of a sharded model wait for each other.
            for start in range(0, math.ceil(len(examples) / processes.count()), self.options.batch_size):
                batch = own[start : start + self.options.batch_size] or self.train_dataset[-1:]
                self.compute_loss(self.model, self._prepare_inputs(self.data_collator(batch)))
        self.model.train()
        measured, self.history = self.history, history
        return measured.means(when, step)[0]["loss"]

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Reports the step's history row to trackers, including the parts of the loss."""
        if "loss" in logs:
            logs = {**logs, **{name: value for name, value in self.history.rows[-1].items() if name != "step"}}
        super().log(logs, start_time)

    def _parts(self, rows: Tensor, labels: Tensor, teacher: SparseLogprobs | None) -> dict[str, Tensor]:
        if self.matrix is not None:
            return sparse_kd_loss(rows, self.matrix, labels, teacher, self.objective)
        return self.objective.dense(rows[:, : self.vocabulary], labels, teacher)


def _teacher(inputs: dict[str, Tensor], temperature: float) -> SparseLogprobs | None:
    if "teacher_ids" not in inputs:
        return None
    return SparseLogprobs.from_stored(
        inputs["teacher_ids"], inputs["teacher_logprobs"], inputs["teacher_tail"], temperature
    )
