"""A student's confidence in every token of its answers, from running it on them again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kdprobe.console import progress
from kdprobe.errors import NonFiniteError
from kdprobe.models.batching import batches, right_padded
from kdprobe.models.conversation import prompt_ids
from kdprobe.models.lm_head import logits_in_chunks, without_lm_head
from kdprobe.models.load import LoadedModel
from kdprobe.models.turn import assistant_turn, response_ids
from kdprobe.problems.problem import Problem
from kdprobe.strategies.prompt_pair import bare

MEASURES = ("max_logit", "max_probability", "entropy", "margin")


@dataclass(frozen=True)
class AnswerConfidence:
    """Means over the tokens of one answer, including the end of turn if it was written; NaN for an empty answer.

    Attributes:
        tokens: Number of tokens.
        max_logit: The largest raw logit, as published.
        max_probability: The largest probability.
        entropy: Entropy of the next token's distribution, in nats.
        margin: The largest probability minus the second largest.
    """

    tokens: int
    max_logit: float
    max_probability: float
    entropy: float
    margin: float


def answer_confidence(
    student: LoadedModel,
    problems: Sequence[Problem],
    records: Sequence[Mapping[str, Any]],
    *,
    batch_size: int,
    label: str,
) -> list[AnswerConfidence]:
    """Runs a student on its own answers; logits are computed for one chunk of rows at a time.

    The text is tokenised again, so the tokens may differ from those written.

    Args:
        student: The student that wrote the answers.
        problems: The problems that it answered.
        records: `response` and `cut_off` of the answer to each problem.
        batch_size: Answers per batch.
        label: Label of the progress bar.

    Returns:
        The confidence of each answer, in the order of the problems.
    """
    prompts = [prompt_ids(student.tokenizer, bare(problem)) for problem in problems]
    answers = [_answer_ids(student.tokenizer, record) for record in records]
    lengths = [len(prompt) + len(answer) for prompt, answer in zip(prompts, answers, strict=True)]
    results: dict[int, AnswerConfidence] = {}
    with (
        progress(label, len(problems), unit="tok") as bar,
        torch.inference_mode(),
        without_lm_head(student.model, len(student.tokenizer)) as matrix,
    ):
        for batch in batches(lengths, batch_size if matrix is not None else 1):
            sequences = [prompts[index] + answers[index] for index in batch]
            ids, mask = right_padded(sequences, student.tokenizer.pad_token_id, student.device)
            # Row t - 1 predicts token t; rows before the end of the shortest question predict no written token.
            first = min(len(prompts[index]) for index in batch) - 1
            keep = torch.arange(first, ids.shape[1], device=student.device)
            rows = student.model(input_ids=ids, attention_mask=mask, logits_to_keep=keep, use_cache=False).logits
            for row, index in enumerate(batch):
                begin = len(prompts[index]) - 1 - first
                answer_rows = rows[row, begin : begin + len(answers[index])]
                chunks = logits_in_chunks(answer_rows, matrix, len(student.tokenizer))
                results[index] = _mean(chunks, len(answer_rows), problems[index].id)
            bar.advance(len(batch), work=int(mask.sum()))
    return [results[index] for index in range(len(problems))]


def _answer_ids(tokenizer: Any, record: Mapping[str, Any]) -> list[int]:
    """The tokens written, including thinking framed as in the chat template, since records contain no marks."""
    if thinking := record.get("thinking"):
        return response_ids(tokenizer, record["response"], thinking, ended=not record["cut_off"])
    ids: list[int] = tokenizer(record["response"], add_special_tokens=False)["input_ids"]
    return ids if record["cut_off"] else [*ids, assistant_turn(tokenizer).end]


def _mean(chunks: Iterator[Tensor], tokens: int, problem: str) -> AnswerConfidence:
    totals = torch.zeros(len(MEASURES), dtype=torch.float64)
    for logits in chunks:
        largest = logits.amax(dim=-1)
        log_p = logits.log_softmax(dim=-1)
        p = log_p.exp()
        best, second = p.topk(2, dim=-1).values.unbind(dim=-1)
        entropy = -(p * log_p).sum(dim=-1)
        totals += torch.stack([largest, best, entropy, best - second]).double().sum(dim=-1).cpu()
    if not totals.isfinite().all():
        raise NonFiniteError(f"The student's logits for its answer to problem {problem!r} are NaN or infinite.")
    means = totals / tokens if tokens else torch.full_like(totals, torch.nan)
    return AnswerConfidence(tokens, *means.tolist())
