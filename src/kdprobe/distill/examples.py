"""Training examples: token ids the student reads, labels of some positions, and the teacher's rows for them.

In a sound distillation the student reads its conversation and the response, every response token is the label of the
position before it, and the teacher's row for it is the one the teacher generated it from. The response's ids are the
teacher's own, never re-tokenised text, so row t of the teacher and row t of the student predict the same next token.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kdprobe.errors import KdprobeError
from kdprobe.teachers.teacher import NO_TOKEN, SparseRows

if TYPE_CHECKING:
    from torch import Tensor

IGNORED = -100
"""The label of positions without a loss, as in torch and transformers."""


@dataclass(frozen=True)
class Lesson:
    """The teacher's distributions for the labels of an example.

    Attributes:
        problem: The problem the teacher had read.
        followers: The token that followed each row in the teacher's input or output, that is, the token the row
            predicts.
        rows: Returns the rows, one per label; called every time, because rows as wide as the vocabulary are not kept.
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
        positions: The positions whose distributions are trained, in ascending order.
        labels: The token that each position should predict.
        lesson: The teacher's distribution for each position, or `None`.
    """

    problem: str
    input_ids: list[int]
    positions: list[int]
    labels: list[int]
    lesson: Lesson | None = None

    @classmethod
    def of_response(
        cls, problem: str, prompt: list[int], response: list[int], rows: Callable[[], SparseRows] | None
    ) -> Example:
        """The sound case: each token of the response is predicted from everything before it."""
        return cls(
            problem=problem,
            input_ids=[*prompt, *response],
            positions=list(range(len(prompt) - 1, len(prompt) + len(response) - 1)),
            labels=response,
            lesson=None if rows is None else Lesson(problem, response, rows),
        )


def refuse_unfit(examples: Sequence[Example], tokens: int, context: int | None) -> None:
    """Rejects examples with token ids unknown to the student, or longer than its context.

    Args:
        examples: The training examples.
        tokens: The number of token ids that both the student's matrices and its tokenizer have.
        context: The maximum number of tokens it reads at once, or `None` if not stated.

    Raises:
        KdprobeError: There are such examples.
    """
    for example in examples:
        largest = max((*example.input_ids, *example.labels), default=0)
        if largest >= tokens:
            raise KdprobeError(
                f"Problem {example.problem!r} contains token id {largest:,}, but the student's vocabulary has only "
                f"{tokens:,} tokens.",
                "Use a student whose weights match its tokenizer, or a teacher with the same tokenizer as the student.",
            )
    longest = max(examples, key=lambda example: len(example.input_ids))
    if context is not None and len(longest.input_ids) > context:
        raise KdprobeError(
            f"Problem {longest.problem!r} has {len(longest.input_ids)} tokens with its answer, but the student's "
            f"context is {context} tokens.",
            "Lower transfer.max_new_tokens, or remove such problems.",
        )


def collate(examples: Sequence[Example], pad: int, temperature: float) -> dict[str, Tensor]:
    """A batch, padded on the right, with each label at the position that predicts it.

    Returns:
        `input_ids`, `attention_mask`, `labels` `[batch, longest]`, and with a teacher `teacher_ids` and
        `teacher_logprobs` `[rows, k]` and `teacher_tail` `[rows]` (at `temperature`): one row per labelled position, in
        the order of boolean indexing with `labels != IGNORED`.
    """
    import torch

    from kdprobe.models.batching import right_padded

    ids, mask = right_padded([example.input_ids for example in examples], pad, torch.device("cpu"))
    labels = torch.full_like(ids, IGNORED)
    for row, example in enumerate(examples):
        labels[row, example.positions] = torch.tensor(example.labels, dtype=torch.long)
    batch = {"input_ids": ids, "attention_mask": mask, "labels": labels}
    rows = [example.lesson.rows() for example in examples if example.lesson is not None]
    if rows:
        width = max(row.ids.shape[1] for row in rows)
        top_ids = np.concatenate([_widened(row.ids, width, NO_TOKEN) for row in rows])
        logprobs = np.concatenate([_widened(row.logprobs, width, -np.inf) for row in rows])
        batch["teacher_ids"] = torch.from_numpy(top_ids).long()
        batch["teacher_logprobs"] = torch.from_numpy(logprobs)
        tails = np.concatenate([row.tail_logmass[temperature] for row in rows])
        batch["teacher_tail"] = torch.from_numpy(tails)
    return batch


def _widened(values: NDArray[Any], width: int, fill: float) -> NDArray[Any]:
    """Rows `[rows, k]` filled up to `[rows, width]`."""
    return np.pad(values, ((0, 0), (0, width - values.shape[1])), constant_values=fill)
