"""What is trained on: token ids that the student reads, the labels of some positions, and the teacher's rows for them.

In the sound case the student reads its conversation and the response, every response token is the label of the
position before it, and the teacher's row for it is the one that the teacher wrote it by. The response's ids are the
teacher's own, never re-tokenised text, so row t of the teacher and row t of the student speak of the same next token.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kdprobe.errors import KdprobeError
from kdprobe.models.batching import right_padded
from kdprobe.models.conversation import prompt_ids, tokenizer_digest
from kdprobe.models.turn import response_ids
from kdprobe.problems.problem import Problem
from kdprobe.strategies.prompt_pair import PromptPair
from kdprobe.teachers.teacher import SparseRows
from kdprobe.transfer.transfer_set import TransferSet

IGNORED = -100
"""The label of positions that no loss is taken at, as torch and transformers have it."""


@dataclass(frozen=True)
class Lesson:
    """The teacher's distributions for the labels of an example.

    Attributes:
        problem: The problem that the teacher had read.
        followers: The token that followed each row in what the teacher read or wrote: what its row speaks of.
        rows: Gives the rows, one per label; asked for each time, since rows as wide as the vocabulary are not kept.
    """

    problem: str
    followers: list[int]
    rows: Callable[[], SparseRows]


@dataclass(frozen=True)
class Example:
    """One answer to one problem, ready for training.

    Attributes:
        problem: The problem.
        input_ids: What the student reads.
        positions: Whose distributions are trained, rising.
        labels: The token that each of them should predict.
        lesson: What the teacher has to say about each of them, or `None`.
    """

    problem: str
    input_ids: list[int]
    positions: list[int]
    labels: list[int]
    lesson: Lesson | None = None

    @classmethod
    def of_response(cls, problem: str, prompt: list[int], response: list[int], rows: SparseRows | None) -> Example:
        """The sound case: each token of the response is predicted from all that stands before it."""
        return cls(
            problem=problem,
            input_ids=[*prompt, *response],
            positions=list(range(len(prompt) - 1, len(prompt) + len(response) - 1)),
            labels=response,
            lesson=None if rows is None else Lesson(problem, response, lambda: rows),
        )


def from_transfer(transfer: TransferSet, conversations: Mapping[str, PromptPair], tokenizer: Any) -> list[Example]:
    """Examples from what the teacher answered; an answer without tokens teaches nothing and is left out.

    Raises:
        KdprobeError: The student's tokenizer is not the teacher's, so token ids would mean different things; or there
            is nothing to learn.
    """
    teacher_digest, student_digest = transfer.manifest["tokenizer"], tokenizer_digest(tokenizer)
    if teacher_digest != student_digest:
        raise KdprobeError(
            f"The student's tokenizer ({student_digest}) is not the one of the transfer set ({teacher_digest}).",
            "Use a teacher and a student that share their tokenizer, or a distiller that learns from text.",
        )
    examples = [
        Example.of_response(
            response.id,
            prompt_ids(tokenizer, conversations[response.id].student),
            response.token_ids.tolist(),
            response.rows,
        )
        for response in transfer.responses
        if len(response.token_ids)
    ]
    if not examples:
        raise KdprobeError(
            "None of the teacher's answers that were chosen holds anything to learn.",
            "Use another strategy or teacher, or choose other answers with transfer.filter.",
        )
    return examples


def from_gold(problems: Sequence[Problem], conversations: Mapping[str, PromptPair], tokenizer: Any) -> list[Example]:
    """Examples from the worked gold solutions, without calculator marks."""
    return [
        Example.of_response(
            problem.id,
            prompt_ids(tokenizer, conversations[problem.id].student),
            response_ids(tokenizer, problem.plain_solution),
            None,
        )
        for problem in problems
    ]


def refuse_unfit(examples: Sequence[Example], tokens: int, context: int | None) -> None:
    """Refuses examples that a student has no rows for, or that are longer than it can read.

    Args:
        examples: What is to be trained on.
        tokens: How many token ids both of its matrices and its tokenizer have.
        context: The most tokens that it reads at once, or `None` where it says none.

    Raises:
        KdprobeError: There are such.
    """
    for example in examples:
        largest = max((*example.input_ids, *example.labels), default=0)
        if largest >= tokens:
            raise KdprobeError(
                f"Problem {example.problem!r} is to be trained on with token id {largest:,}, and the student has "
                f"{tokens:,} tokens.",
                "Use a student whose tokenizer and weights belong together, or whose teacher shares its tokenizer.",
            )
    longest = max(examples, key=lambda example: len(example.input_ids))
    if context is not None and len(longest.input_ids) > context:
        raise KdprobeError(
            f"Problem {longest.problem!r} has {len(longest.input_ids)} tokens with its answer, and the student reads "
            f"{context} at once.",
            "Lower transfer.max_new_tokens, or leave such problems out.",
        )


def collate(examples: Sequence[Example], pad: int, temperature: float) -> dict[str, Tensor]:
    """A batch: padded on the right, each label at the position that predicts it.

    Returns:
        `input_ids`, `attention_mask`, `labels` `[batch, longest]`, and where there is a teacher `teacher_ids` and
        `teacher_logprobs` `[rows, k]` and `teacher_tail` `[rows]` (at `temperature`), a row per labelled position,
        in the order that boolean indexing of `labels != IGNORED` gives.
    """
    ids, mask = right_padded([example.input_ids for example in examples], pad, torch.device("cpu"))
    labels = torch.full_like(ids, IGNORED)
    for row, example in enumerate(examples):
        labels[row, example.positions] = torch.tensor(example.labels, dtype=torch.long)
    batch = {"input_ids": ids, "attention_mask": mask, "labels": labels}
    rows = [example.lesson.rows() for example in examples if example.lesson is not None]
    if rows:
        batch["teacher_ids"] = torch.from_numpy(np.concatenate([row.ids for row in rows])).long()
        batch["teacher_logprobs"] = torch.from_numpy(np.concatenate([row.logprobs for row in rows]))
        tails = np.concatenate([row.tail_logmass[temperature] for row in rows])
        batch["teacher_tail"] = torch.from_numpy(tails)
    return batch
