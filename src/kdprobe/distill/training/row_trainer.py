"""A `transformers.Trainer` whose loss is taken on response rows only.

The loss of an optimiser step is the sum over its response tokens divided by their number, across micro-batches and
ranks; a mean of means would weigh tokens by the company they keep.
"""

from __future__ import annotations

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


class RowTrainer(Trainer):  # type: ignore[misc]  # transformers is untyped
    """A Trainer for examples as `collate` makes them.

    Args:
        objective: What to minimise.
        vocabulary: How many real token ids there are.
        matrix: The output matrix that was taken off the model, or `None` where the model makes its logits itself.
        history: Where the losses are recorded.
        options: The learning rate's schedule.
        length: What the schedule is laid out over.
        held_out: The examples to validate on.
        arguments: The Trainer's own.
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
        # Ask the Trainer for the number of labels in the whole optimiser step, and not to divide again. A label stands
        # at the position that predicts it, so the first one counts too.
        self.model_accepts_loss_kwargs = True
        self._loss_shifts_labels = False
        self.objective, self.vocabulary, self.matrix, self.history = objective, vocabulary, matrix, history
        self.options, self.length, self.held_out = options, length, held_out
        self.lr_scheduler: LambdaLR | None
        self.control: Any

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:  # noqa: ARG002
        """Our own factors: the libraries' warm-up spends the first step at a rate of zero."""
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
        """One process trains in the library's order; several in the same one, filled up to come out even."""
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
        """All that the Trainer decays but DoRA's magnitudes, whose decay would shrink the base weights themselves."""
        return [name for name in super().get_decay_parameter_names(model) if MAGNITUDE not in name]

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The sum of the losses of this micro-batch's rows, divided by the rows of the whole optimiser step."""
        labels = inputs["labels"]
        labelled = labels != IGNORED
        # The head runs only where some sequence of the batch has a label.
        positions = labelled.any(dim=0).nonzero()[:, 0]
        outputs = model(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            logits_to_keep=positions,
            use_cache=False,
        )
        # Without its head the model gives hidden states where it would give logits.
        rows = outputs.logits[labelled[:, positions]]
        if not len(rows):  # Nothing but fillers: a gradient of zero, for the other processes to add to.
            return (outputs.logits.sum(), outputs) if return_outputs else outputs.logits.sum()
        parts = self._parts(rows, labels[labelled], _teacher(inputs, self.objective.temperature))
        count = len(rows) if num_items_in_batch is None else num_items_in_batch
        self.history.add(parts, tokens=int(inputs["attention_mask"].sum()))
        # Gradients are averaged over processes, and the count is that of all of them.
        loss = parts["loss"].sum() / count * self.accelerator.num_processes
        return (loss, outputs) if return_outputs else loss

    def evaluate(self, *_args: Any, **_kwargs: Any) -> dict[str, float]:
        """The loss on the held-out examples, a mean over all their response tokens."""
        step = self.state.global_step
        loss = self._measured(self.held_out, f"in the validation after step {step}", step)
        metrics = {"eval_loss": loss}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def refuse_diverged(self, example: Example) -> None:
        """Has the student read an example once more, since no loss is taken after the last step.

        Raises:
            NonFiniteError: The loss on it is NaN or infinite.
        """
        steps = len(self.history.rows)
        self._measured([example] * processes.count(), f"after the {steps} steps of the training", steps)

    def _measured(self, examples: Sequence[Example], when: str, step: int) -> float:
        """The mean loss of the model as it is; arguments and errors as of `History.means`."""
        history, self.history = self.history, History([])
        self.model.eval()
        with torch.no_grad():
            own = examples[processes.rank() :: processes.count()]
            for start in range(0, len(own), self.options.batch_size):
                batch = self.data_collator(own[start : start + self.options.batch_size])
                self.compute_loss(self.model, self._prepare_inputs(batch))
        self.model.train()
        measured, self.history = self.history, history
        return measured.means(when, step)[0]["loss"]

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Reports the step's history row to trackers, parts of the loss included."""
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
