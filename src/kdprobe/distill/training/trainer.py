"""Training a LoRA adapter: from the base model and examples to the adapter's folder."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from peft import get_peft_model
from transformers import PrinterCallback, TrainingArguments, set_seed

from kdprobe.console import note, progress
from kdprobe.distill.adapter import adapter_norm, base_norm, lora_config
from kdprobe.distill.alignment import alignment
from kdprobe.distill.distiller import TrainContext, Trained
from kdprobe.distill.examples import Example, collate, refuse_unfit
from kdprobe.distill.objectives import Objective
from kdprobe.distill.options import TrainingOptions
from kdprobe.distill.training.checkpoints import Checkpoints, clear_later, last_checkpoint
from kdprobe.distill.training.history import History, StepEnd
from kdprobe.distill.training.launch import is_sharded, refuse_launch
from kdprobe.distill.training.order import with_filler
from kdprobe.distill.training.recomputing import recompute_layers
from kdprobe.distill.training.row_trainer import RowTrainer
from kdprobe.distill.training.schedule import Length
from kdprobe.distill.training.sharded_trainer import ShardedTrainer
from kdprobe.distill.training.sharding import whole_adapter
from kdprobe.distill.training.validation import Validation, best_step, exhausted, hold_out
from kdprobe.models import processes
from kdprobe.models.chatter import quiet
from kdprobe.models.lm_head import without_lm_head
from kdprobe.models.load import LoadedModel
from kdprobe.models.merging.files import write_base
from kdprobe.models.outline.blueprint import context_length
from kdprobe.models.outline.device import default_device
from kdprobe.models.public_names import public_name
from kdprobe.sequences import LazySequence

TRACKERS = "runs"
"""The folder, below the checkpoints' folder, in which transformers makes trackers write their files."""


def train(
    student: LoadedModel,
    examples: Sequence[Example],
    objective: Objective,
    options: TrainingOptions,
    context: TrainContext,
) -> Trained:
    """Trains an adapter and writes it to `context.folder`; resumes from the last checkpoint in `context.scratch`.

    Args:
        student: The base model; its weights are frozen.
        examples: The training examples.
        objective: What to minimise at every response row.
        options: The training options.
        context: Seed, folders and label.

    Raises:
        NonFiniteError: The training diverged.
    """
    vocabulary, settings = len(student.tokenizer), student.model.config
    refuse_unfit(examples, min(vocabulary, settings.get_text_config().vocab_size), context_length(settings))
    refuse_launch(context.student)
    set_seed(context.seed)
    with quiet():
        model = get_peft_model(student.model, lora_config(options.lora, student.model))
    if options.gradient_checkpointing:
        recompute_layers(student)
    model.train()
    pad = student.tokenizer.pad_token_id
    trained, held_out = (
        LazySequence(examples.__getitem__, indices)
        for indices in hold_out(len(examples), options.validation, context.seed)
    )
    length = Length.of(len(trained), options)
    with (
        nullcontext(context.scratch) if context.scratch else TemporaryDirectory() as scratch,
        progress(context.label, length.stop, unit="tok") if processes.is_main() else nullcontext() as bar,
        quiet(),
        without_lm_head(model, vocabulary) as matrix,
    ):
        checkpoint = last_checkpoint(Path(scratch))
        folder, history = (checkpoint[0], History(checkpoint[1])) if checkpoint else (None, History([]))
        clear_later(Path(scratch), folder)
        validation = Validation(history.rows, model, options.validation_steps or length.epoch, options.patience, folder)
        trainer = (ShardedTrainer if is_sharded() else RowTrainer)(
            model=model,
            args=_arguments(options, length, context, scratch),
            train_dataset=with_filler(trained, pad) if processes.count() > 1 else trained,
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
        # It would print every log line to stdout, which is for results.
        trainer.remove_callback(PrinterCallback)
        if checkpoint and bar is not None:
            note(f"{context.label}: resuming after step {len(history.rows)}.")
            bar.advance(len(history.rows))
        if not exhausted(history.rows, options.patience):
            trainer.train(resume_from_checkpoint=str(folder) if folder else None)
        validation.restore()
        trainer.refuse_diverged(trained[0])
        if processes.is_main():
            _keep_trackers_files(Path(scratch), Path(context.folder))
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
    state = whole_adapter(model) if is_sharded() else None
    if not processes.is_main():
        return
    with quiet():
        # PEFT looks up a named base on the Hub, to see whether the vocabulary was resized, which kdprobe never does.
        model.peft_config["default"].base_model_name_or_path = None
        model.save_pretrained(context.folder, state_dict=state)
    write_base(Path(context.folder), public_name(context.student))


def _keep_trackers_files(scratch: Path, folder: Path) -> None:
    """Moves trackers' files from the checkpoints to the adapter: `runs/`, as expected by the Hub."""
    if (scratch / TRACKERS).is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        shutil.move(scratch / TRACKERS, folder / TRACKERS)


def _arguments(
    options: TrainingOptions, length: Length, context: TrainContext, scratch: Path | str
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
        use_cpu=default_device() == "cpu",
        save_strategy="steps",
        save_steps=options.checkpoint_steps,
        # Keeps the previous checkpoint too, in case of a kill while writing the last.
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
    # Each process trains on one GPU; by default the library splits batches over all GPUs it sees.
    arguments._n_gpu = min(arguments.n_gpu, 1)  # noqa: SLF001
    return arguments
