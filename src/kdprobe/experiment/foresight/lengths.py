"""Prompts and texts that do not fit into the context of the model that reads them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from kdprobe.comparison.finding import Finding
from kdprobe.errors import UsageError
from kdprobe.experiment.config_checks import GOLD, TEXT_FILE
from kdprobe.experiment.stages.context import StageContext
from kdprobe.models.outline.room import named, too_long
from kdprobe.problems.problem import Problem
from kdprobe.strategies.prompt_pair import PromptPair, bare

_END = 1
"""The token that ends a turn."""


def teacher_lengths(
    context: StageContext, conversations: Mapping[str, Mapping[str, PromptPair]]
) -> Iterator[UsageError]:
    """Transfer problems that leave the teacher no room to answer."""
    experiment, teacher = context.experiment, context.teacher_blueprint
    if teacher is None or teacher.context is None:
        return
    config = experiment.transfer
    writes = "responses" in context.distiller.needs and config.texts != GOLD and not config.texts.endswith(TEXT_FILE)
    budget = config.max_new_tokens if writes else _END
    if budget >= teacher.context:
        yield _budget("transfer.max_new_tokens", budget, f"The teacher {teacher.record.name!r}", teacher.context)
        return
    for strategy, pairs in conversations.items():
        texts = {id_: context.teacher_text(pair.teacher) for id_, pair in pairs.items()}
        if long := too_long(context.teacher_tokenizer, texts, teacher.context - budget):
            yield UsageError(
                f"The teacher {teacher.record.name!r} reads and writes {teacher.context} tokens together; under the "
                f"strategy {strategy!r} {_count(long)} no room for {budget} new ones: {named(long)}.",
                "Leave these problems out, lower transfer.max_new_tokens, or use a shorter strategy.",
            )


def student_lengths(
    context: StageContext, conversations: Mapping[str, Mapping[str, PromptPair]]
) -> Iterator[UsageError | Finding]:
    """Problems that leave the student no room to answer, and texts that are too long for it to learn from."""
    experiment, student = context.experiment, context.student_blueprint
    if student.context is None:
        return
    subject, budget = f"The student {student.record.name!r}", experiment.evaluation.max_new_tokens
    if budget >= student.context:
        yield _budget("evaluation.max_new_tokens", budget, subject, student.context)
        return
    prompts = {problem.id: context.student_text(bare(problem)) for problem in context.problems.test}
    if long := too_long(context.tokenizer, prompts, student.context - budget):
        yield UsageError(
            f"{subject} reads and writes {student.context} tokens together; in the test {_count(long)} no room for "
            f"{budget} new ones: {named(long)}.",
            "Leave these problems out, or lower evaluation.max_new_tokens.",
        )
    needs = context.distiller.needs
    learnt = context.problems.transfer if experiment.controls.fine_tuned or "gold" in needs else ()
    for split, problems in (("test", context.problems.test), ("transfer", learnt)):
        if long := too_long(context.tokenizer, _with_gold(context, problems), student.context - _END):
            yield UsageError(
                f"{subject} reads {student.context} tokens at once; {len(long)} {split} problems are longer with their "
                f"gold solutions: {named(long)}.",
                "Leave these problems out.",
            )
    if "responses" not in needs:
        return
    room = student.context - experiment.transfer.max_new_tokens
    for strategy, pairs in conversations.items():
        texts = {id_: context.student_text(pair.student) for id_, pair in pairs.items()}
        if long := too_long(context.tokenizer, texts, room):
            yield Finding(
                "long-answers",
                f"Answers of {experiment.transfer.max_new_tokens} tokens would not fit into the student's context of "
                f"{student.context}: {len(long)} problems of the strategy {strategy!r}, {named(long)}.",
                "Lower transfer.max_new_tokens; a training that meets an answer that is too long stops.",
            )


def _with_gold(context: StageContext, problems: Iterable[Problem]) -> dict[str, str]:
    return {problem.id: context.student_text(bare(problem)) + problem.plain_solution for problem in problems}


def _budget(key: str, budget: int, subject: str, context: int) -> UsageError:
    return UsageError(
        f"{key} is {budget}, and {subject[0].lower()}{subject[1:]} reads and writes {context} tokens together.",
        f"Lower {key}.",
    )


def _count(lengths: Mapping[str, int]) -> str:
    return "1 problem leaves" if len(lengths) == 1 else f"{len(lengths)} problems leave"
