"""The stage in which a teacher answers the transfer problems under one strategy, or scores given texts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from kdprobe.experiment.config_checks import GOLD, OWN
from kdprobe.experiment.parts.divide import part_name, part_seed
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
from kdprobe.models.outline.reader import Reader
from kdprobe.strategies.prompt_pair import PromptPair
from kdprobe.teachers.teacher import RenderingTeacher, scoring_teacher

FORMAT = 7
FIDELITY = "fidelity.json"
SERVED = ("returned_prompts", "prompts_unlike_template")
"""What is counted of prompts that a server rendered."""


@with_resources("transfer")
def transfer_stage(
    context: StageContext,
    strategy: str,
    conversations: Mapping[str, PromptPair],
    *,
    texts: Stage | None = None,
    temperatures: tuple[float, ...] = (),
    part: tuple[int, int] | None = None,
) -> Stage:
    """The teacher answers the transfer problems under one strategy, or scores the texts of `transfer.texts`.

    Args:
        context: The experiment.
        strategy: Its label in this run.
        conversations: Problem id mapped to the conversations the strategy built.
        texts: The transfer set whose answers are scored, if `transfer.texts` names another strategy.
        temperatures: Temperatures at which to keep the tail, besides those the distiller plans.
        part: Which part of how many the context's transfer problems are, counted from 0, if they are not all.
    """
    config = context.experiment.transfer
    teacher = context.teacher
    sampling = _sampling(context, temperatures, part)
    name = part_name(strategy, *part) if part else strategy
    problems = context.problems.transfer
    answers_itself = config.texts == OWN or (config.texts == strategy and texts is None)
    renders_here = isinstance(teacher, RenderingTeacher) or not answers_itself
    reader = context.teacher_reader if answers_itself else _scoring_reader(context)
    settings = {
        "format": FORMAT,
        **teacher_key(context, teacher, conversations),
        # The same for a teacher that renders its prompts; for a server, what the messages become.
        **({} if answers_itself else {"prompts": reader.prompts([pair.teacher for pair in conversations.values()])}),
        "strategy": strategy_key(context, strategy),
        # The gold values judge the answers, although the teacher never sees them.
        "problems": problems_key(context, problems),
        "sampling": asdict(sampling),
        "samples": config.samples,
        "texts": texts_key(context),
        "environment": environment("torch", "transformers", "peft"),
    }

    def work(folder: Path, inputs: list[Path], scratch: Path) -> None:
        import numpy as np

        from kdprobe.models.conversation import prompt_ids, tokenizer_digest
        from kdprobe.transfer.capture import Setting, capture, score
        from kdprobe.transfer.fidelity import fidelity
        from kdprobe.transfer.responses import Responses
        from kdprobe.transfer.texts import file_texts, gold_texts
        from kdprobe.transfer.transfer_set import read, write

        if renders_here:
            refuse_other_prompts(settings["prompts"], reader, [pair.teacher for pair in conversations.values()])
        tokenizer = reader.tokenizer
        manifest = {
            # By its own name, so that a run with another label uses the same transfer set.
            "strategy": settings["strategy"]["plugin"],
            "tokenizer": tokenizer_digest(tokenizer),
            "vocabulary": len(tokenizer),
            "prompts": "rendered here" if renders_here else "rendered by the server",
        }
        if answers_itself:
            setting = Setting(sampling, manifest, f"Teacher answers: {name}", scratch)
            transfer_set = capture(teacher, problems, conversations, setting, config.samples)
        else:
            if inputs:
                asked = {problem.id for problem in problems}
                written = read(inputs[0]).responses.texts
                answers = written.chosen(place for place, response in enumerate(written) if response.id in asked)
            elif config.texts == GOLD:
                answers = Responses.of(gold_texts(problems, tokenizer))
            else:
                answers = Responses.of(file_texts(Path(config.texts), problems, tokenizer))
            prompts = {
                id_: np.array(prompt_ids(tokenizer, pair.teacher), np.int32) for id_, pair in conversations.items()
            }
            setting = Setting(sampling, manifest, f"Teacher reads: {name}", scratch)
            transfer_set = score(teacher, answers, prompts, setting)
        primed = {id_: pair.teacher for id_, pair in conversations.items()}
        returned = {
            response.id: response.prompt_ids
            for response in transfer_set.responses.texts
            if response.prompt_ids is not None
        }
        served = {}
        if renders_here:
            write_prompts(folder, tokenizer, problems, primed)
        elif returned:
            write_prompt_ids(folder, returned.items())
            record = replace(context.teacher_reader.record, conversation=context.student.conversation)
            unlike = count_unlike_template(record, returned, primed)
            served = dict(zip(SERVED, (len(returned), unlike), strict=True))
        # The prompt ids are in a separate file.
        responses = transfer_set.responses.changed(lambda response: replace(response, prompt_ids=None))
        write(replace(transfer_set, responses=responses), folder)
        write_json(folder / FIDELITY, asdict(fidelity(read(folder), problems)) | served)

    return Stage("transfer", name, settings, (texts,) if texts else (), work, len(problems) * config.samples)


def _scoring_reader(context: StageContext) -> Reader:
    """How prompts before scored texts read to the teacher: rendered here, even if a server renders those it answers.

    Raises:
        UsageError: The teacher cannot score.
    """
    teacher = scoring_teacher(context.teacher)
    if isinstance(teacher, RenderingTeacher):
        return context.teacher_reader
    record = replace(context.teacher_reader.record, conversation=context.student.conversation)
    return Reader(record, context.memory, helpers=context.helpers)


def _sampling(context: StageContext, extra: tuple[float, ...], part: tuple[int, int] | None) -> Any:
    from kdprobe.teachers.teacher import Sampling

    temperatures = tuple(sorted({1.0, *context.distiller.temperatures(), *extra}))
    sampling = Sampling(**context.experiment.transfer.sampling, temperatures=temperatures)
    # Greedy answers do not depend on the seed.
    return replace(sampling, seed=part_seed(sampling.seed, *part)) if part and sampling.temperature else sampling
