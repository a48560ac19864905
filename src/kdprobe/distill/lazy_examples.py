"""Examples from transfer sets and gold solutions, made when they are used: a large set does not fit into memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from kdprobe.distill.examples import Example
from kdprobe.errors import KdprobeError
from kdprobe.models.conversation import prompt_ids, tokenizer_digest
from kdprobe.models.turn import response_ids
from kdprobe.problems.problem import Problem
from kdprobe.sequences import LazySequence
from kdprobe.strategies.prompt_pair import PromptPair
from kdprobe.teachers.teacher import SparseRows

if TYPE_CHECKING:
    from kdprobe.transfer.transfer_set import TransferSet


def from_transfer(
    transfer: TransferSet, conversations: Mapping[str, PromptPair], tokenizer: Any, *, rows: bool
) -> LazySequence[Example]:
    """Examples from the teacher's answers; answers without tokens are skipped.

    Args:
        transfer: The teacher's answers.
        conversations: Problem id mapped to the two conversations.
        tokenizer: The student's tokenizer.
        rows: Whether the examples have the teacher's distributions, if it has any.

    Raises:
        KdprobeError: Student and teacher have different tokenizers, so token ids would mean different things; or there
            is nothing to learn from.
    """
    teacher_digest, student_digest = transfer.manifest["tokenizer"], tokenizer_digest(tokenizer)
    if teacher_digest != student_digest:
        raise KdprobeError(
            f"The student's tokenizer ({student_digest}) differs from that of the transfer set ({teacher_digest}).",
            "Use a teacher and a student that share a tokenizer, or a distiller that learns from text.",
        )
    responses, texts = transfer.responses, transfer.responses.texts
    taught = {index: text.id for index, text in enumerate(texts) if len(text.token_ids)}
    if not taught:
        raise KdprobeError(
            "None of the selected teacher answers contains any tokens to train on.",
            "Use another strategy or teacher, or select other answers with transfer.filter.",
        )
    # Compact, because a list of Python's numbers takes nine times as much.
    prompts = {
        problem: np.array(prompt_ids(tokenizer, conversations[problem].student), dtype=np.int32)
        for problem in dict.fromkeys(taught.values())
    }

    def read_rows(index: int) -> SparseRows:
        found = responses[index].rows
        assert found is not None  # noqa: S101 - for the type checker
        return found

    def make(index: int) -> Example:
        text = texts[index]
        lesson = partial(read_rows, index) if rows and responses.has_distributions(index) else None
        return Example.of_response(text.id, prompts[text.id].tolist(), text.token_ids.tolist(), lesson)

    return LazySequence(make, [*taught])


def from_gold(problems: Sequence[Problem], conversations: Mapping[str, PromptPair], tokenizer: Any) -> list[Example]:
    """Examples from the worked gold solutions, without calculator annotations."""
    return [
        Example.of_response(
            problem.id,
            prompt_ids(tokenizer, conversations[problem.id].student),
            response_ids(tokenizer, problem.plain_solution),
            None,
        )
        for problem in problems
    ]
