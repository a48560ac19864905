"""The stage in which a student is trained, and the resulting student."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from kdprobe.distill.ends import ends_of
from kdprobe.distill.options import TrainingOptions
from kdprobe.distill.sufficiency import refuse_cut_rows
from kdprobe.distill.targets import targets_text, with_target_names
from kdprobe.distill.training.schedule import Length
from kdprobe.errors import NonFiniteError
from kdprobe.experiment.stages.adapter_card import adapter_card, caution_of
from kdprobe.experiment.stages.context import (
    StageContext,
    problems_key,
    refuse_other_prompts,
    strategy_key,
    teacher_key,
)
from kdprobe.experiment.stages.environment import environment
from kdprobe.experiment.stages.plugin_key import plugin_key
from kdprobe.experiment.stages.prompts import write_prompts
from kdprobe.experiment.stages.select import SELECTION
from kdprobe.experiment.stages.stage import Stage, with_resources
from kdprobe.files import read_json, write_json
from kdprobe.models import processes
from kdprobe.models.merging.files import write_ends
from kdprobe.problems.problem import Problem
from kdprobe.strategies.prompt_pair import PromptPair, bare
from kdprobe.students.card import write_adapter_card
from kdprobe.students.student import Student

FORMAT = 6
ADAPTER = "adapter"
TRAINING = "training.json"
DIVERGED = "diverged"
"""Present in the record of training that produced no student: why, and at which step."""
FINE_TUNE = "fine-tune"
"""The distiller of the control."""


def distill_stage(
    context: StageContext,
    name: str,
    seed: int,
    *,
    strategy: str,
    conversations: Mapping[str, PromptPair],
    transfer: Stage | None,
    selected: Stage | None,
) -> Stage:
    """Trains a student, from a transfer set if its distiller needs one.

    Args:
        context: The experiment.
        name: The student's name.
        seed: The seed of its training.
        strategy: The teacher's strategy, by its label in this run.
        conversations: Problem id mapped to what the student and its teacher read.
        transfer: The transfer set, if the distiller needs one.
        selected: The selection of answers to train on; without one, all answers are used.
    """
    config = context.experiment.distill
    return _training(
        context,
        name,
        seed,
        distiller=(config.name, config.options),
        transfer=transfer,
        selected=selected,
        conversations=conversations,
        strategy=strategy_key(context, strategy),
    )


def fine_tune_stage(context: StageContext, name: str, seed: int, *, selected: Stage | None) -> Stage:
    """Trains the control on gold solutions; under a matched selection, on those of the selected problems."""
    return _training(
        context,
        name,
        seed,
        distiller=(FINE_TUNE, context.experiment.controls.fine_tune_options),
        transfer=None,
        selected=selected,
        conversations={problem.id: PromptPair(bare(problem), bare(problem)) for problem in context.problems.transfer},
        strategy=None,
    )


def trained_student(student: Student, folders: Sequence[Path]) -> Student:
    """A student with the adapter from its training folder; unchanged without one."""
    return replace(student, adapter=folders[0] / ADAPTER) if folders else student


def diverged(folder: Path) -> dict[str, Any] | None:
    """`step`, `reason` and `hint` of training that diverged; `None` if it produced a student.

    Args:
        folder: The folder of the training stage.
    """
    found: dict[str, Any] | None = read_json(folder / TRAINING).get(DIVERGED)
    return found


def divergence_sentence(found: Mapping[str, Any]) -> str:
    """A phrase for training that diverged, to be placed after the student's name; ends with a full sentence."""
    step, reason = found["step"], found["reason"]
    at = "" if step is None or f"step {step}" in reason else f" at step {step}"
    return f"diverged{at}: {reason}"


def adapted_modules(stages: Iterable[Stage]) -> dict[str, str]:
    """For each distiller, the modules that its students' adapters modify, in words, if its options name them.

    Args:
        stages: All stages of a plan.
    """
    settings = [stage.settings for stage in stages if stage.kind == "distill"]
    loras = {one["distiller"]["plugin"]: one["options"].get("lora") for one in settings}
    return {
        distiller: targets_text(lora["target_modules"])
        for distiller, lora in loras.items()
        if isinstance(lora, dict) and lora.get("target_modules")
    }


@with_resources("distill")
def _training(
    context: StageContext,
    name: str,
    seed: int,
    *,
    distiller: tuple[str, dict[str, Any]],
    transfer: Stage | None,
    selected: Stage | None,
    conversations: Mapping[str, PromptPair],
    strategy: dict[str, Any] | None,
) -> Stage:
    kind, options = distiller
    validated = with_target_names(
        context.host.options("distillers", kind, options),
        context.student_modules.attention,
        context.student_blueprint.kind,
    )
    built = context.host.build("distillers", kind, validated)
    if transfer:
        refuse_cut_rows(kind, built, context.experiment.transfer.tail)
    teacher = context.teacher if "teacher" in built.needs else None
    dtype = context.experiment.distill.dtype
    settings = {
        "format": FORMAT,
        "distiller": plugin_key(context.host, "distillers", kind),
        "options": validated.model_dump(mode="json") if validated else {},
        "student": context.student.as_key(),
        "dtype": dtype,
        "seed": seed,
        # The batch size is per process.
        "processes": processes.count(),
        "problems": problems_key(context, context.problems.transfer),
        "strategy": strategy,
        "prompts": context.student_prompts(conversations),
        **({"teacher": teacher_key(context, teacher, conversations)} if teacher else {}),
        "environment": environment("torch", "transformers", "peft"),
    }

    def work(folder: Path, inputs: list[Path], scratch: Path) -> None:
        from kdprobe.distill.distiller import TrainContext, Trained, refuse_diverged
        from kdprobe.transfer.fitting import fitted
        from kdprobe.transfer.transfer_set import read

        tokenizer = context.student_reader.tokenizer
        read_by_student = {id_: pair.student for id_, pair in conversations.items()}
        refuse_other_prompts(settings["prompts"], context.student_reader, [*read_by_student.values()])
        taught = read(inputs[0]) if transfer else None
        if taught:
            refuse_cut_rows(kind, built, taught.manifest["sampling"].get("tail"))
            taught = fitted(taught, context.tokenizer_match, tokenizer, rows=bool(built.temperatures()))
        problems: Sequence[Problem] = context.problems.transfer
        if selected:
            selection = read_json(inputs[-1] / SELECTION)
            strategy_name = inputs[0].name if transfer else next(iter(selection))
            answers = {(id_, sample) for id_, sample in selection[strategy_name]}
            problems = tuple(problem for problem in problems if problem.id in {id_ for id_, _ in answers})
            taught = taught.only(answers) if taught else None
        train_context = TrainContext(
            # Training divides models by its launcher.
            student=replace(context.student, placement=None),
            dtype=dtype,
            problems=problems,
            conversations=conversations,
            transfer=taught,
            teacher=teacher,
            seed=seed,
            folder=folder / ADAPTER,
            label=f"Training {name}" if kind == FINE_TUNE else f"Distilling {name}",
            scratch=scratch,
        )
        divergence = None
        context.pool.close_opened()
        try:
            trained = built.train(train_context)
            refuse_diverged(trained)
        except NonFiniteError as error:
            # A result like any other: the same training would diverge again.
            shutil.rmtree(folder / ADAPTER, ignore_errors=True)
            trained = Trained(folder / ADAPTER, adapter_norm=math.nan)
            divergence = {"step": error.step, "reason": error.message, "hint": error.hint}
        record = {key: value for key, value in asdict(trained).items() if key != "adapter"} | {DIVERGED: divergence}
        ends, without_end = ends_of(tokenizer, taught, gold="gold" in built.needs)
        if not divergence:
            write_ends(folder / ADAPTER, ends)
            # The other processes have a folder of their own, without the adapter, that is thrown away.
            if processes.is_main():
                write_adapter_card(folder / ADAPTER, adapter_card(context, name, settings, folder / ADAPTER))
        form = write_prompts(folder, tokenizer, problems, read_by_student)
        origin = {
            "caution": caution_of(context.host, kind),
            "prompt_form": form,
            "end_ids": sorted(ends),
            "retokenised": bool(taught and taught.manifest.get("retokenised")),
        }
        write_json(folder / TRAINING, origin | {"responses_without_end": without_end} | record)

    needed = tuple(stage for stage in (transfer, selected) if stage)
    return Stage("distill", name, settings, needed, work, _examples(context, validated, samples=bool(transfer)))


def _examples(context: StageContext, options: Any, *, samples: bool) -> int:
    """Number of examples that training reads if no answer is left out; in one pass, if the options are a plugin's."""
    examples = len(context.problems.transfer) * (context.experiment.transfer.samples if samples else 1)
    if not isinstance(options, TrainingOptions):
        return examples
    return Length.of(examples, options).stop * options.batch_size * options.accumulation * processes.count()
