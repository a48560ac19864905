"""The stage in which a teacher answers the transfer problems under one strategy, or scores given texts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from kdprobe.experiment.config_checks import GOLD, OWN
from kdprobe.experiment.stages.context import (
    StageContext,
    problems_key,
    refuse_other_prompts,
    strategy_key,
    teacher_key,
    texts_key,
)
from kdprobe.experiment.stages.environment import environment
from kdprobe.experiment.stages.prompts import count_unlike_template, write_prompt_ids, write_prompts
from kdprobe.experiment.stages.stage import Stage, with_resources
from kdprobe.files import write_json
from kdprobe.strategies.prompt_pair import PromptPair
from kdprobe.teachers.teacher import RenderingTeacher

FORMAT = 6
FIDELITY = "fidelity.json"


@with_resources("transfer")
def transfer_stage(
    context: StageContext,
    strategy: str,
    conversations: Mapping[str, PromptPair],
    *,
    texts: Stage | None = None,
    temperatures: tuple[float, ...] = (),
) -> Stage:
    """The teacher answers the transfer problems under one strategy, or scores the texts of `transfer.texts`.

    Args:
        context: The experiment.
        strategy: Its label in this run.
        conversations: Problem id mapped to the conversations the strategy built.
        texts: The transfer set whose answers are scored, if `transfer.texts` names another strategy.
        temperatures: Temperatures at which to keep the tail, besides those the distiller plans.
    """
    config = context.experiment.transfer
    teacher = context.teacher
    sampling = _sampling(context, temperatures)
    problems = context.problems.transfer
    settings = {
        "format": FORMAT,
        **teacher_key(context, teacher, conversations),
        "strategy": strategy_key(context, strategy),
        # The gold values judge the answers, although the teacher never sees them.
        "problems": problems_key(context, problems),
        "sampling": asdict(sampling),
        "samples": config.samples,
        "texts": texts_key(context),
        "environment": environment("torch", "transformers", "peft"),
    }

    def work(folder: Path, inputs: list[Path], scratch: Path) -> None:
        from kdprobe.models.conversation import prompt_ids, tokenizer_digest
        from kdprobe.transfer.capture import Setting, capture, score
        from kdprobe.transfer.fidelity import fidelity
        from kdprobe.transfer.texts import file_texts, gold_texts
        from kdprobe.transfer.transfer_set import read, write

        if isinstance(teacher, RenderingTeacher):
            read_now = [pair.teacher for pair in conversations.values()]
            refuse_other_prompts(settings["prompts"], context.teacher_reader, read_now)
        tokenizer = context.teacher_reader.tokenizer
        manifest = {
            # By its own name, so that a run with another label uses the same transfer set.
            "strategy": settings["strategy"]["plugin"],
            "tokenizer": tokenizer_digest(tokenizer),
            "vocabulary": len(tokenizer),
            "prompts": "rendered here" if isinstance(teacher, RenderingTeacher) else "rendered by the server",
        }
        if config.texts == OWN or (config.texts == strategy and not inputs):
            setting = Setting(sampling, manifest, f"Teacher answers: {strategy}", scratch)
            transfer_set = capture(teacher, problems, conversations, setting, config.samples)
        else:
            if inputs:
                answers = list(read(inputs[0]).responses)
            elif config.texts == GOLD:
                answers = gold_texts(problems, tokenizer)
            else:
                answers = file_texts(Path(config.texts), problems, tokenizer)
            prompts = {id_: prompt_ids(tokenizer, pair.teacher) for id_, pair in conversations.items()}
            setting = Setting(sampling, manifest, f"Teacher reads: {strategy}", scratch)
            transfer_set = score(teacher, answers, prompts, setting)
        primed = {id_: pair.teacher for id_, pair in conversations.items()}
        returned = {
            response.id: response.prompt_ids.tolist()
            for response in transfer_set.responses
            if response.prompt_ids is not None
        }
        served = {}
        if isinstance(teacher, RenderingTeacher):
            write_prompts(folder, tokenizer, problems, primed)
        elif returned:
            write_prompt_ids(folder, returned)
            record = replace(context.teacher_reader.record, conversation=context.student.conversation)
            unlike = count_unlike_template(record, returned, primed)
            served = {"returned_prompts": len(returned), "prompts_unlike_template": unlike}
        # The prompt ids are in a separate file.
        responses = tuple(replace(response, prompt_ids=None) for response in transfer_set.responses)
        write(replace(transfer_set, responses=responses), folder)
        write_json(folder / FIDELITY, asdict(fidelity(read(folder), problems)) | served)

    return Stage("transfer", strategy, settings, (texts,) if texts else (), work, len(problems) * config.samples)


def _sampling(context: StageContext, extra: tuple[float, ...]) -> Any:
    from kdprobe.teachers.teacher import Sampling

    temperatures = tuple(sorted({1.0, *context.distiller.temperatures(), *extra}))
    return Sampling(**context.experiment.transfer.sampling, temperatures=temperatures)
