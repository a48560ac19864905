"""Tokenizers that do not match each other or their own model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from kdprobe.errors import UsageError
from kdprobe.experiment.stages.context import StageContext
from kdprobe.models.outline.blueprint import Blueprint
from kdprobe.models.turn import assistant_turn
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
    for blueprint, tokenizer in _readers(context):
        end = assistant_turn(tokenizer).end
        if end is None or tokenizer.pad_token_id is None:
            yield UsageError(
                f"The tokenizer of the model {blueprint.record.name!r} has no token that ends an answer.",
                "Set eos_token in its tokenizer_config.json.",
            )
        elif end >= blueprint.rows:
            yield _without_row(blueprint, tokenizer.decode([end]), "answers end with")


def ids_without_rows(
    context: StageContext, conversations: Mapping[str, Mapping[str, PromptPair]]
) -> Iterator[UsageError]:
    """Prompts with tokens that have no row in a model's embeddings."""
    pairs = [pair for by_problem in conversations.values() for pair in by_problem.values()]

    def student_texts() -> list[str]:
        tested = [context.student_text(bare(problem)) for problem in context.problems.test]
        return [*tested, *(context.student_text(pair.student) for pair in pairs)]

    def teacher_texts() -> list[str]:
        return [context.teacher_text(pair.teacher) for pair in pairs]

    for (blueprint, tokenizer), texts in zip(_readers(context), (student_texts, teacher_texts), strict=False):
        rows = blueprint.rows
        missing = [text for text, token in tokenizer.get_vocab().items() if token >= rows]
        prompts = texts() if missing else []
        if used := sorted(token for token in missing if any(token in prompt for prompt in prompts)):
            shown = ", ".join(map(repr, used[:_SHOWN]))
            yield _without_row(blueprint, shown, "prompts contain")


def _readers(context: StageContext) -> list[tuple[Blueprint, Any]]:
    """The models that read prompts here, with their tokenizers, the student first."""
    readers = [(context.student_blueprint, context.tokenizer)]
    if context.teacher_blueprint:
        readers.append((context.teacher_blueprint, context.teacher_tokenizer))
    return readers


def _without_row(blueprint: Blueprint, token: str, where: str) -> UsageError:
    return UsageError(
        f"The tokenizer of the model {blueprint.record.name!r} has tokens without a row in the model's embeddings "
        f"({blueprint.rows:,} rows), and {where} one of them: {token}.",
        "Use the tokenizer that belongs to the model, or resize its embeddings.",
    )
