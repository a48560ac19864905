"""The distiller `trl-on-policy`: the student answers the bare question, and the primed teacher says how well."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from datasets import Dataset
from transformers import PrinterCallback, TrainerCallback
from trl import DistillationConfig, DistillationTrainer

from kdprobe import KdprobeError
from kdprobe.console import progress
from kdprobe.distill import Need, TrainContext, Trained, adapter_norm, base_norm, lora_config
from kdprobe.models import (
    LoadedModel,
    load_model,
    merge,
    process_count,
    prompt_ids,
    prompt_text,
    quiet,
    tokenizer_digest,
)
from kdprobe.teachers import TransformersTeacher
from kdprobe_trl.options import OnPolicyOptions
from kdprobe_trl.primed import PrimedTeacher, Prompt


class OnPolicyDistiller:
    """TRL's `DistillationTrainer` under kdprobe's conversations."""

    needs: frozenset[Need] = frozenset({"teacher"})

    def __init__(self, options: OnPolicyOptions) -> None:
        self.options = options

    def temperatures(self) -> tuple[float, ...]:
        """Its own temperature: it compares with the teacher token by token."""
        return (self.options.temperature,)

    def train(self, context: TrainContext) -> Trained:
        """Trains on the student's own answers to the transfer problems.

        Raises:
            KdprobeError: The teacher's weights are not here, its tokenizer is not the student's, two problems put one
                prompt to the student, or there are several processes.
        """
        if process_count() > 1:
            raise KdprobeError("The distiller 'trl-on-policy' trains in one process.", "Start it without torchrun.")
        student, teacher = load_model(context.student, dtype=context.dtype), teacher_model(context.teacher)
        if tokenizer_digest(student.tokenizer) != tokenizer_digest(teacher.tokenizer):
            raise KdprobeError(
                "The student's tokenizer is not the teacher's.",
                "On-policy distillation compares them token by token: use models that share their tokenizer.",
            )
        primed = PrimedTeacher(teacher.model, prompts_of(context, student.tokenizer), student.tokenizer.pad_token_id)
        with TemporaryDirectory() as scratch, quiet():
            trainer = DistillationTrainer(
                model=student.model,
                teacher_model=primed,
                args=_arguments(self.options, context, Path(scratch), on_cpu=student.device.type == "cpu"),
                train_dataset=_questions(context, student.tokenizer),
                processing_class=student.tokenizer,
                peft_config=lora_config(self.options.lora),
            )
            # It would print every log line to stdout, where results belong.
            trainer.remove_callback(PrinterCallback)
            with _progress(trainer, context.label):
                trainer.train()
            model = trainer.accelerator.unwrap_model(trainer.model)
            # The name, not the folder it was loaded from: an adapter travels, a path does not.
            model.peft_config["default"].base_model_name_or_path = context.student.name
            model.save_pretrained(context.folder)
        norm = adapter_norm(model)
        return Trained(context.folder, _history(trainer), norm, relative_change=norm / base_norm(model))


def teacher_model(teacher: Any) -> LoadedModel:
    """The weights of a teacher, its adapter merged.

    Raises:
        KdprobeError: It is a teacher whose weights are elsewhere.
    """
    if not isinstance(teacher, TransformersTeacher):
        raise KdprobeError(
            "The distiller 'trl-on-policy' needs the teacher's weights in this process.",
            "Use the teacher 'transformers'.",
        )
    loaded = load_model(teacher.record, dtype=teacher.options.dtype)
    return merge(loaded, teacher.adapter) if teacher.adapter else loaded


def prompts_of(context: TrainContext, tokenizer: Any) -> dict[Prompt, Prompt]:
    """The student's prompt of every problem to the teacher's.

    Raises:
        KdprobeError: Two problems put one prompt to the student and two to the teacher.
    """
    prompts: dict[Prompt, Prompt] = {}
    for problem in context.problems:
        pair = context.conversations[problem.id]
        student, teacher = (tuple(prompt_ids(tokenizer, messages)) for messages in (pair.student, pair.teacher))
        if prompts.setdefault(student, teacher) != teacher:
            raise KdprobeError(
                f"Problem {problem.id!r} reads like another one to the student, and different to the teacher.",
                "Remove one of the two problems.",
            )
    return prompts


def _questions(context: TrainContext, tokenizer: Any) -> Dataset:
    """What the student is asked, as TRL takes it: conversations, or texts for a model without a chat template."""
    conversations = [context.conversations[problem.id].student for problem in context.problems]
    if tokenizer.chat_template:
        return Dataset.from_list([{"prompt": messages} for messages in conversations])
    return Dataset.from_list([{"prompt": prompt_text(tokenizer, messages)} for messages in conversations])


def _arguments(options: OnPolicyOptions, context: TrainContext, scratch: Path, *, on_cpu: bool) -> DistillationConfig:
    return DistillationConfig(
        output_dir=str(scratch),
        per_device_train_batch_size=options.batch_size,
        gradient_accumulation_steps=options.accumulation,
        num_train_epochs=options.epochs,
        max_steps=options.max_steps or -1,
        learning_rate=options.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=options.warmup,
        max_grad_norm=options.max_grad_norm,
        max_completion_length=options.max_new_tokens,
        temperature=options.temperature,
        beta=options.beta,
        seed=context.seed,
        use_cpu=on_cpu,
        # TRL turns both on unless told otherwise; the adapter is float32, the base as `distill.dtype` says.
        bf16=False,
        gradient_checkpointing=False,
        save_strategy="no",
        logging_steps=1,
        report_to=[],
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )


def _history(trainer: Any) -> list[dict[str, float]]:
    """One row per optimiser step."""
    columns = {
        "loss": "loss",
        "learning_rate": "learning_rate",
        "grad_norm": "grad_norm",
        "entropy": "entropy",
        "completions/mean_length": "mean_tokens",
    }
    return [
        {"step": row["step"], **{ours: float(row[name]) for name, ours in columns.items() if name in row}}
        for row in trainer.state.log_history
        if "loss" in row
    ]


@contextmanager
def _progress(trainer: Any, label: str) -> Iterator[None]:
    """Shows optimiser steps while the block runs."""

    class Step(TrainerCallback):  # type: ignore[misc]  # transformers is untyped
        """Counts them."""

        def on_train_begin(self, _arguments: Any, state: Any, _control: Any, **_known: Any) -> None:
            bar.total = state.max_steps

        def on_step_end(self, _arguments: Any, _state: Any, _control: Any, **_known: Any) -> None:
            bar.advance()

    with progress(label) as bar:
        trainer.add_callback(Step())
        yield
