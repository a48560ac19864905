"""The distiller `trl-on-policy`: the student answers the bare question, and the primed teacher scores the answer."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from datasets import Dataset
from torch import Tensor
from transformers import PrinterCallback, TrainerCallback
from trl import DistillationConfig, DistillationTrainer

from kdprobe import KdprobeError, NonFiniteError
from kdprobe.console import progress
from kdprobe.distill import Need, TrainContext, Trained, adapter_norm, base_norm, lora_config
from kdprobe.models import (
    LoadedModel,
    load_model,
    match_tokenizers,
    merge,
    process_count,
    prompt_ids,
    prompt_text,
    quiet,
)
from kdprobe.teachers import TransformersTeacher
from kdprobe_trl.options import OnPolicyOptions
from kdprobe_trl.primed import PrimedTeacher, Prompt

_DIVERGED = "Lower the learning rate; if distill.dtype is float16, use bfloat16 or float32."


class OnPolicyDistiller:
    """TRL's `DistillationTrainer` on kdprobe's conversations."""

    needs: frozenset[Need] = frozenset({"teacher"})

    def __init__(self, options: OnPolicyOptions) -> None:
        self.options = options

    def temperatures(self) -> tuple[float, ...]:
        """The temperature at which it compares distributions."""
        return (self.options.temperature,)

    def train(self, context: TrainContext) -> Trained:
        """Trains on the student's own answers to the transfer problems.

        Raises:
            KdprobeError: The teacher's weights are not available locally, its tokenizer is not the student's, two
                problems have the same student prompt, there are several processes, or the student is quantised.
        """
        if process_count() > 1:
            raise KdprobeError(
                "The distiller 'trl-on-policy' trains in a single process only.", "Start kdprobe without torchrun."
            )
        if context.student.is_packed:
            raise KdprobeError(
                "The distiller 'trl-on-policy' cannot train adapters on quantised weights.",
                "Use weights that are not quantised, or another distiller.",
            )
        student, teacher = load_model(context.student, dtype=context.dtype), teacher_model(context.teacher)
        prompts = prompts_of(context, student.tokenizer, teacher.tokenizer)
        adapter = lora_config(self.options.lora, student.model)
        cut_to_shared(student, teacher, prompts, adapter.target_modules)
        primed = PrimedTeacher(teacher.model, prompts, student.tokenizer.pad_token_id)
        with TemporaryDirectory() as scratch, quiet():
            trainer = DistillationTrainer(
                model=student.model,
                teacher_model=primed,
                args=_arguments(self.options, context, Path(scratch), on_cpu=student.device.type == "cpu"),
                train_dataset=_questions(context, student.tokenizer),
                processing_class=student.tokenizer,
                peft_config=adapter,
            )
            # It would print every log line to stdout, which is for results.
            trainer.remove_callback(PrinterCallback)
            with _progress(trainer, context.label), _finite_logits(trainer, student.model):
                trainer.train()
            model = trainer.accelerator.unwrap_model(trainer.model)
            # PEFT would write the folder that the base was loaded from; kdprobe writes what others can call it.
            model.peft_config["default"].base_model_name_or_path = None
            # The embedding matrices belong to the base and were truncated for this training only.
            model.save_pretrained(context.folder, save_embedding_layers=False)
        norm = adapter_norm(model)
        return Trained(context.folder, _history(trainer), norm, relative_change=norm / base_norm(model))


def teacher_model(teacher: Any) -> LoadedModel:
    """Loads a teacher's weights, with its adapter merged.

    Raises:
        KdprobeError: The teacher's weights are not available locally, or are to be spread over several devices.
    """
    if not isinstance(teacher, TransformersTeacher):
        raise KdprobeError(
            "The distiller 'trl-on-policy' needs the teacher's weights in this process.",
            "Use the teacher 'transformers'.",
        )
    if teacher.record.placement:
        raise KdprobeError(
            "The distiller 'trl-on-policy' holds the teacher on the student's device, so device_map cannot spread it.",
            "Remove teacher.options.device_map.",
        )
    loaded = load_model(teacher.record, dtype=teacher.options.dtype)
    return merge(loaded, teacher.adapter) if teacher.adapter else loaded


def cut_to_shared(
    student: LoadedModel, teacher: LoadedModel, prompts: Mapping[Prompt, Prompt], targets: Collection[str]
) -> None:
    """Truncates both models' embedding matrices to the ids that both tokenizers have, since TRL compares all columns.

    Models of one family may be padded to different widths, Qwen's to 151,936 and 152,064. The padding is not a token.

    Args:
        student: The student.
        teacher: The teacher.
        prompts: For each student prompt, the teacher's.
        targets: The modules that get an adapter.

    Raises:
        KdprobeError: Ids differ in meaning, or prompts or end tokens need an id that only one of the two has.
    """
    rows = [loaded.model.get_input_embeddings().num_embeddings for loaded in (student, teacher)]
    shared = min(*rows, len(student.tokenizer), len(teacher.tokenizer))
    if reason := _difference(student, teacher, prompts, shared):
        raise KdprobeError(
            f"The student's tokenizer is not the teacher's: {reason}.",
            "On-policy distillation compares student and teacher token by token: "
            'set distill.name = "sequence", or use models that share their tokenizer.',
        )
    embedding = student.model.get_input_embeddings()
    name = next(name for name, module in student.model.named_modules() if module is embedding).rpartition(".")[2]
    if rows[0] != shared and name in targets:
        raise KdprobeError(
            f"The distiller 'trl-on-policy' cannot train {name}: some rows of the student's embeddings belong to "
            "tokens that the teacher does not have.",
            f"Remove {name} from lora.target_modules.",
        )
    for loaded, size in zip((student, teacher), rows, strict=True):
        if size != shared:
            loaded.model.resize_token_embeddings(shared, mean_resizing=False)


def _difference(student: LoadedModel, teacher: LoadedModel, prompts: Mapping[Prompt, Prompt], shared: int) -> str:
    """Why the first `shared` ids differ or are not enough, as the end of a sentence; else empty."""
    match = match_tokenizers(student.tokenizer, teacher.tokenizer)
    if match.difference:
        return match.difference
    if foreign := [token for token in sorted(match.foreign) if token < shared]:
        if len(foreign) == 1:
            return f"the id {foreign[0]} stands for a different added token"
        return f"{len(foreign)} ids, such as {foreign[0]}, stand for different added tokens"
    largest = max(*student.eos_ids, *(token for pair in prompts.items() for prompt in pair for token in prompt))
    return f"prompts or end tokens use the id {largest}, which one of the tokenizers lacks" if largest >= shared else ""


def prompts_of(context: TrainContext, student_tokenizer: Any, teacher_tokenizer: Any) -> dict[Prompt, Prompt]:
    """Maps the student's prompt of every problem to the teacher's.

    Raises:
        KdprobeError: Two problems have the same student prompt but different teacher prompts.
    """
    prompts: dict[Prompt, Prompt] = {}
    for problem in context.problems:
        pair = context.conversations[problem.id]
        student = tuple(prompt_ids(student_tokenizer, pair.student))
        teacher = tuple(prompt_ids(teacher_tokenizer, pair.teacher))
        if prompts.setdefault(student, teacher) != teacher:
            raise KdprobeError(
                f"Problem {problem.id!r} has the same student prompt as another problem, but a different teacher "
                "prompt.",
                "Remove one of the two problems.",
            )
    return prompts


def _questions(context: TrainContext, tokenizer: Any) -> Dataset:
    """The student's prompts in TRL's format: conversations, or texts for a model without a chat template."""
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
        # TRL turns both on by default; the adapter is float32, and the base has the type `distill.dtype`.
        bf16=False,
        gradient_checkpointing=False,
        save_strategy="no",
        logging_steps=1,
        # Otherwise a NaN loss would be logged as the mean of those before it.
        logging_nan_inf_filter=False,
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
def _finite_logits(trainer: Any, model: Any) -> Iterator[None]:
    """Checks the logits from which the student samples its answers.

    Raises:
        NonFiniteError: The logits are NaN or infinite.
    """

    def look(_module: Any, _inputs: Any, logits: Tensor) -> None:
        if not logits.amax(dim=-1).isfinite().all():
            step = trainer.state.global_step + 1
            sentence = f"The student's logits are NaN or infinite at training step {step}."
            raise NonFiniteError(sentence, _DIVERGED, step=step)

    handle = model.get_output_embeddings().register_forward_hook(look)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def _progress(trainer: Any, label: str) -> Iterator[None]:
    """Shows optimiser steps while the block runs, and stops training if it diverges.

    Raises:
        NonFiniteError: The loss of a step is NaN or infinite.
    """

    class Step(TrainerCallback):  # type: ignore[misc]  # transformers is untyped
        """Counts the steps."""

        def on_train_begin(self, _arguments: Any, state: Any, _control: Any, **_known: Any) -> None:
            bar.total = state.max_steps

        def on_step_end(self, _arguments: Any, _state: Any, _control: Any, **_known: Any) -> None:
            bar.advance()

        def on_log(
            self, _arguments: Any, state: Any, _control: Any, logs: dict[str, float] | None = None, **_known: Any
        ) -> None:
            loss = (logs or {}).get("loss", 0.0)
            if not math.isfinite(loss):
                step = state.global_step
                raise NonFiniteError(f"The loss is {loss} at training step {step}.", _DIVERGED, step=step)

    with progress(label) as bar:
        trainer.add_callback(Step())
        yield
