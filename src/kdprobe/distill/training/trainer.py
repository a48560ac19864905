"""Training a LoRA adapter on response rows, on `transformers.Trainer`.

The loss of an optimiser step is the sum over its response tokens divided by their number, across micro-batches and
ranks; a mean of means would weigh tokens by the company they keep.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from peft import get_peft_model
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR
from transformers import PrinterCallback, Trainer, TrainingArguments, set_seed

from kdprobe.console import note, progress
from kdprobe.distill.adapter import MAGNITUDE, adapter_norm, base_norm, lora_config
from kdprobe.distill.alignment import alignment
from kdprobe.distill.distiller import TrainContext, Trained
from kdprobe.distill.examples import IGNORED, Example, collate
from kdprobe.distill.objectives import Objective, SparseLogprobs
from kdprobe.distill.options import TrainingOptions
from kdprobe.distill.sparse_kd import sparse_kd_loss
from kdprobe.distill.training.checkpoints import Checkpoints, last_checkpoint
from kdprobe.distill.training.history import History, StepEnd
from kdprobe.distill.training.order import EvenOrder, filler
from kdprobe.distill.training.schedule import Length, learning_rate_factor
from kdprobe.distill.training.validation import Validation, best_step, exhausted, hold_out
from kdprobe.models import processes
from kdprobe.models.lm_head import without_lm_head
from kdprobe.models.load import LoadedModel, quiet

TRACKERS = "runs"
"""Where transformers has trackers write that write files, below the checkpoints' folder."""


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
    trained, held_out = hold_out(examples, options.validation, context.seed)
    length = Length.of(len(trained), options)
    vocabulary = len(student.tokenizer)
    with (
        nullcontext(context.scratch) if context.scratch else TemporaryDirectory() as scratch,
        progress(context.label, length.stop, unit="tok") if processes.is_main() else nullcontext() as bar,
        quiet(),
        without_lm_head(model, vocabulary) as matrix,
    ):
        checkpoint = last_checkpoint(Path(scratch))
        folder, history = (checkpoint[0], History(checkpoint[1])) if checkpoint else (None, History([]))
        validation = Validation(history.rows, model, options.validation_steps or length.epoch, options.patience, folder)
        trainer = _RowTrainer(
            model=model,
            args=_arguments(options, length, context, scratch, student),
            train_dataset=[*trained, filler(pad)] if processes.count() > 1 else trained,
            data_collator=lambda batch: collate(batch, pad, objective.temperature),
            callbacks=[StepEnd(bar, history), *([validation] if held_out else []), Checkpoints(history.rows)],
            objective=objective,
            vocabulary=vocabulary,
            matrix=matrix,
            history=history,
            options=options,
            length=length,
            held_out=held_out,
        )
        # It would print every log line to stdout, where results belong.
        trainer.remove_callback(PrinterCallback)
        if checkpoint and bar is not None:
            note(f"{context.label}: going on after step {len(history.rows)}.")
            bar.advance(len(history.rows))
        if not exhausted(history.rows, options.patience):
            trainer.train(resume_from_checkpoint=str(folder) if folder else None)
        validation.restore()
        if processes.is_main():
            _keep_trackers_files(Path(scratch), Path(context.folder))
    if processes.is_main():
        _save(model, context)
    processes.wait()
    norm = adapter_norm(model)
    return Trained(
        Path(context.folder),
        history.rows,
        norm,
        relative_change=norm / base_norm(model),
        stopped_early=len(history.rows) < length.schedule,
        best_step=best_step(history.rows) if options.patience else None,
        alignment=alignment(trained),
    )


def _save(model: Any, context: TrainContext) -> None:
    with quiet():
        # The name, not the folder it was loaded from: an adapter travels, a path does not.
        model.peft_config["default"].base_model_name_or_path = context.student.name
        model.save_pretrained(context.folder)


def _keep_trackers_files(scratch: Path, folder: Path) -> None:
    """Moves what trackers wrote beside the checkpoints to where it lasts: `runs/`, as the Hub expects it."""
    if (scratch / TRACKERS).is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        shutil.move(scratch / TRACKERS, folder / TRACKERS)


class _RowTrainer(Trainer):  # type: ignore[misc]  # transformers is untyped
    """A Trainer whose loss is taken on response rows only.

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
        history, self.history = self.history, History([])
        self.model.eval()
        with torch.no_grad():
            examples = self.held_out[processes.rank() :: processes.count()]
            for start in range(0, len(examples), self.options.batch_size):
                batch = self.data_collator(examples[start : start + self.options.batch_size])
                self.compute_loss(self.model, self._prepare_inputs(batch))
        self.model.train()
        measured, self.history = self.history, history
        metrics = {"eval_loss": measured.means()[0]["loss"]}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

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


def _arguments(
    options: TrainingOptions, length: Length, context: TrainContext, scratch: Path | str, student: LoadedModel
) -> TrainingArguments:
    arguments = TrainingArguments(
        output_dir=str(scratch),
        per_device_train_batch_size=options.batch_size,
        gradient_accumulation_steps=options.accumulation,
        num_train_epochs=options.epochs,
        max_steps=length.stop,
        learning_rate=options.learning_rate,
        weight_decay=options.weight_decay,
        max_grad_norm=options.max_grad_norm,
        optim={"adamw": "adamw_torch", "sgd": "sgd"}[options.optimiser],
        optim_args=f"momentum={options.momentum}" if options.optimiser == "sgd" else None,
        seed=context.seed,
        use_cpu=student.device.type == "cpu",
        save_strategy="steps",
        save_steps=options.checkpoint_steps,
        # The one before last stays, for a kill in the middle of writing the last.
        save_total_limit=2,
        logging_strategy="steps" if options.report_to else "no",
        logging_steps=1,
        report_to=list(options.report_to),
        project="kdprobe",
        run_name=f"{context.label}, seed {context.seed}",
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
    )
    # A process trains on one GPU; the library would have it split batches over all that it sees.
    arguments._n_gpu = min(arguments.n_gpu, 1)  # noqa: SLF001
    return arguments
