"""Prompts and texts that do not fit into the context of the model that reads them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from kdprobe.comparison.finding import Finding
from kdprobe.errors import UsageError
from kdprobe.experiment.config_checks import GOLD, TEXT_FILE
from kdprobe.experiment.stages.context import StageContext
from kdprobe.models.outline.room import exceeding, named
from kdprobe.strategies.prompt_pair import PromptPair, bare
from kdprobe.words import counted, these

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
        yield _budget("transfer.max_new_tokens", budget, f"the teacher {teacher.record.name!r}", teacher.context)
        return
    for strategy, pairs in conversations.items():
        asked = {id_: pair.teacher for id_, pair in pairs.items()}
        if long := context.teacher_reader.too_long(asked, teacher.context - budget):
            yield UsageError(
                f"The context window of the teacher {teacher.record.name!r} is {teacher.context} tokens; under the "
                f"strategy {strategy!r}, {_count(long)} no room for {counted(budget, 'new token')}: "
                f"{named(long)}.",
                f"Remove {these(len(long), 'problem')}, lower transfer.max_new_tokens, or use a strategy with shorter "
                "prompts.",
            )


def student_lengths(
    context: StageContext, conversations: Mapping[str, Mapping[str, PromptPair]]
) -> Iterator[UsageError | Finding]:
    """Problems that leave the student no room to answer, and texts that are too long to train it on."""
    experiment, student = context.experiment, context.student_blueprint
    if student.context is None:
        return
    subject, budget = f"the student {student.record.name!r}", experiment.evaluation.max_new_tokens
    if budget >= student.context:
        yield _budget("evaluation.max_new_tokens", budget, subject, student.context)
        return
    reader, tested = context.student_reader, {problem.id: bare(problem) for problem in context.problems.test}
    if long := reader.too_long(tested, student.context - budget):
        yield UsageError(
            f"The context window of {subject} is {student.context} tokens; in the test set, {_count(long)} no room for "
            f"{counted(budget, 'new token')}: {named(long)}.",
            f"Remove {these(len(long), 'problem')}, or lower evaluation.max_new_tokens.",
        )
    needs = context.distiller.needs
    learnt = context.problems.transfer if experiment.controls.fine_tuned or "gold" in needs else ()
    for split, problems in (("test", context.problems.test), ("transfer", learnt)):
        questions = {problem.id: bare(problem) for problem in problems}
        solutions = {problem.id: problem.plain_solution for problem in problems}
        if long := reader.too_long(questions, student.context - _END, solutions):
            yield UsageError(
                f"The context window of {subject} is {student.context} tokens; {exceeding(f'{split} problem', long)}.",
                f"Remove {these(len(long), 'problem')}.",
            )
    if "responses" not in needs:
        return
    room = student.context - experiment.transfer.max_new_tokens
    for strategy, pairs in conversations.items():
        if long := reader.too_long({id_: pair.student for id_, pair in pairs.items()}, room):
            yield Finding(
                "long-answers",
                f"With answers of {experiment.transfer.max_new_tokens} tokens, {counted(len(long), 'prompt')} of the "
                f"strategy {strategy!r} would exceed the student's context of {student.context} tokens: {named(long)}.",
                "Lower transfer.max_new_tokens; otherwise training fails at the first answer that is too long.",
            )


def _budget(key: str, budget: int, subject: str, context: int) -> UsageError:
    return UsageError(
        f"{key} is {budget}, which leaves no room for a prompt in the {context}-token context of {subject}.",
        f"Lower {key}.",
    )


def _count(lengths: Mapping[str, int]) -> str:
    return "1 problem leaves" if len(lengths) == 1 else f"{len(lengths)} problems leave"
