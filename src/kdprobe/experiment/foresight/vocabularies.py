"""Tokenizers that do not match each other or their own model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from kdprobe.errors import UsageError
from kdprobe.experiment.stages.context import StageContext
from kdprobe.models.outline.blueprint import Blueprint
from kdprobe.models.outline.reader import Reader
from kdprobe.strategies.prompt_pair import PromptPair, bare
from kdprobe.transfer.fitting import TEXT_INSTEAD

_SHOWN = 3


def comparable_tokens(context: StageContext) -> Iterator[UsageError]:
    """A distiller that compares teacher and student token by token although their tokenizers differ."""
    distiller = context.distiller
    if distiller.temperatures() and context.uses_teacher and (difference := context.tokenizer_match.difference):
        yield UsageError(
            f"The distiller {context.experiment.distill.name!r} compares teacher and student token by token, but their "
            f"tokenizers differ: {difference}.",
            TEXT_INSTEAD,
        )


def ends(context: StageContext) -> Iterator[UsageError]:
    """Models whose answers have no end."""
    for blueprint, reader in _models(context):
        vocabulary = reader.vocabulary
        if vocabulary.end is None or not vocabulary.pads:
            yield UsageError(
                f"The tokenizer of the model {blueprint.record.name!r} has no token that ends an answer.",
                "Set eos_token in its tokenizer_config.json.",
            )
        elif vocabulary.end >= blueprint.rows:
            yield _without_row(blueprint, vocabulary.end_text, "which ends every answer")


def ids_without_rows(
    context: StageContext, conversations: Mapping[str, Mapping[str, PromptPair]]
) -> Iterator[UsageError]:
    """Prompts with tokens that have no row in a model's embeddings."""
    pairs = [pair for by_problem in conversations.values() for pair in by_problem.values()]
    read_by_student = [*map(bare, context.problems.test), *(pair.student for pair in pairs)]
    read_by_teacher = [pair.teacher for pair in pairs]
    for (blueprint, reader), prompts in zip(_models(context), (read_by_student, read_by_teacher), strict=False):
        if used := reader.without_rows(blueprint.rows, prompts):
            yield _without_row(blueprint, ", ".join(map(repr, used[:_SHOWN])), "found in prompts")


def _models(context: StageContext) -> list[tuple[Blueprint, Reader]]:
    """The models that read prompts here, with their tokenizers, the student first."""
    models = [(context.student_blueprint, context.student_reader)]
    if context.teacher_blueprint:
        models.append((context.teacher_blueprint, context.teacher_reader))
    return models


def _without_row(blueprint: Blueprint, token: str, where: str) -> UsageError:
    return UsageError(
        f"The tokenizer of the model {blueprint.record.name!r} has tokens without a row in the model's embeddings "
        f"({blueprint.rows:,} rows), including {token}, {where}.",
        "Use the tokenizer that belongs to the model, or resize its embeddings.",
    )
