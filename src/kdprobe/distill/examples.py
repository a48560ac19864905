"""What is trained on: the student's conversation followed by response token ids, and the teacher's rows for them.

The response's ids are the teacher's own, never re-tokenised text, so row t of the teacher and row t of the student
speak of the same next token.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kdprobe.errors import KdprobeError
from kdprobe.models.batching import right_padded
from kdprobe.models.conversation import prompt_ids, response_ids, tokenizer_digest
from kdprobe.problems.problem import Problem
from kdprobe.strategies.prompt_pair import PromptPair
from kdprobe.teachers.teacher import SparseRows
from kdprobe.transfer.transfer_set import TransferSet

IGNORED = -100
"""The label of positions that no loss is taken at, as torch and transformers have it."""


@dataclass(frozen=True)
class Example:
    """One problem, ready for training.

    Attributes:
        prompt: Token ids of the student's conversation.
        response: Token ids of the response, end of turn included where it was written.
        teacher: The teacher's rows, one per response token, or `None`.
    """

    prompt: list[int]
    response: list[int]
    teacher: SparseRows | None = None


def from_transfer(transfer: TransferSet, conversations: Mapping[str, PromptPair], tokenizer: Any) -> list[Example]:
    """Examples from what the teacher answered.

    Raises:
        KdprobeError: The student's tokenizer is not the teacher's, so token ids would mean different things.
    """
    theirs, ours = transfer.manifest["tokenizer"], tokenizer_digest(tokenizer)
    if theirs != ours:
        raise KdprobeError(
            f"The student's tokenizer ({ours}) is not the one of the transfer set ({theirs}).",
            "Use a teacher and a student that share their tokenizer, or a distiller that learns from text.",
        )
    return [
        Example(
            prompt=prompt_ids(tokenizer, conversations[response.id].student),
            response=response.token_ids.tolist(),
            teacher=response.rows,
        )
        for response in transfer.responses
    ]


def from_gold(problems: Sequence[Problem], conversations: Mapping[str, PromptPair], tokenizer: Any) -> list[Example]:
    """Examples from the worked gold solutions, without calculator marks."""
    return [
        Example(
            prompt=prompt_ids(tokenizer, conversations[problem.id].student),
            response=response_ids(tokenizer, problem.plain_solution),
        )
        for problem in problems
    ]


def collate(examples: Sequence[Example], pad: int, temperature: float) -> dict[str, Tensor]:
    """A batch: padded on the right, labels on response positions only.

    Returns:
        `input_ids`, `attention_mask`, `labels` `[batch, longest]`, and where there is a teacher `teacher_ids` and
        `teacher_logprobs` `[rows, k]` and `teacher_tail` `[rows]` (at `temperature`), a row per labelled position,
        in the order that boolean indexing of `labels != IGNORED` gives.
    """
    cpu = torch.device("cpu")
    ids, mask = right_padded([[*example.prompt, *example.response] for example in examples], pad, cpu)
    labels = torch.full_like(ids, IGNORED)
    for row, example in enumerate(examples):
        start, stop = len(example.prompt), len(example.prompt) + len(example.response)
        labels[row, start:stop] = torch.tensor(example.response)
    batch = {"input_ids": ids, "attention_mask": mask, "labels": labels}
    rows = [example.teacher for example in examples if example.teacher is not None]
    if rows:
        batch["teacher_ids"] = torch.from_numpy(np.concatenate([row.ids for row in rows])).long()
        batch["teacher_logprobs"] = torch.from_numpy(np.concatenate([row.logprobs for row in rows]))
        tails = np.concatenate([row.tail_logmass[temperature] for row in rows])
        batch["teacher_tail"] = torch.from_numpy(tails)
    return batch
