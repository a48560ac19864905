"""Capturing the top k log-probabilities and the tail's exact mass while decoding, without a second pass."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import LogitsProcessor

from kdprobe.teachers.teacher import SparseRows


@dataclass(frozen=True)
class TopK:
    """Dense logits cut to their top k.

    Attributes:
        ids: `[rows, k]`, largest first.
        logprobs: At temperature 1, `[rows, k]`, float32.
        tails: Log of the mass outside the top k at every temperature, `[temperatures, rows]`.
        normaliser: What logits minus it are log-probabilities, `[rows]`.
    """

    ids: Tensor
    logprobs: Tensor
    tails: Tensor
    normaliser: Tensor


def sparse_rows(logits: Tensor, k: int, temperatures: tuple[float, ...]) -> TopK:
    """Cuts logits `[rows, V]` to their top k (at most V), with the tail's mass at every temperature."""
    logits = logits.float()
    top = logits.topk(min(k, logits.shape[-1]), dim=-1)
    normaliser = logits.logsumexp(dim=-1)
    # The mass outside the top k by logsumexp over the others: 1 - sum would lose it to rounding below 1e-7.
    others = logits.scatter(1, top.indices, -torch.inf)
    tails = [(others / t).logsumexp(dim=-1) - (logits / t).logsumexp(dim=-1) for t in temperatures]
    return TopK(top.indices, top.values - normaliser[:, None], torch.stack(tails), normaliser)


class TopKCapture(LogitsProcessor):  # type: ignore[misc]  # transformers is untyped
    """Sees the raw logits of every decoding step first, keeps their top k, and passes them on unchanged.

    Args:
        k: How many log-probabilities to keep; at most the vocabulary.
        vocabulary: How many real token ids there are; padded columns beyond them are left out.
        temperatures: At which the tail's mass is kept.
    """

    def __init__(self, k: int, vocabulary: int, temperatures: tuple[float, ...]) -> None:
        self.k = k
        self.vocabulary = vocabulary
        self.temperatures = temperatures
        self._steps: list[TopK] = []
        self._written: list[Tensor] = []
        self._pending: Tensor | None = None

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """One decoding step: `input_ids` `[batch, so far]`, raw logits `scores` `[batch, V]`."""
        self._note_written(input_ids[:, -1])
        self._pending = scores[:, : self.vocabulary].float()
        self._steps.append(sparse_rows(self._pending, self.k, self.temperatures))
        return scores

    def finish(self, sequences: Tensor) -> None:
        """Takes in the last written token, once decoding is over: `sequences` `[batch, prompt + response]`."""
        self._note_written(sequences[:, -1])
        self._pending = None

    def rows(self, index: int, tokens: int) -> SparseRows:
        """What was captured for one sequence of the batch, over its first `tokens` response positions."""
        steps = self._steps[:tokens]
        tails = torch.stack([step.tails[:, index] for step in steps]).cpu()
        return SparseRows(
            ids=torch.stack([step.ids[index] for step in steps]).to(torch.int32).cpu().numpy(),
            logprobs=torch.stack([step.logprobs[index] for step in steps]).cpu().numpy(),
            tail_logmass={t: tails[:, place].numpy() for place, t in enumerate(self.temperatures)},
            token_logprobs=torch.stack([written[index] for written in self._written[:tokens]]).cpu().numpy(),
        )

    def _note_written(self, tokens: Tensor) -> None:
        if self._pending is not None:
            # A padding id of a finished sequence may lie outside the real vocabulary; its row is dropped later.
            column = tokens.clamp(max=self.vocabulary - 1)[:, None]
            self._written.append(self._pending.gather(1, column)[:, 0] - self._steps[-1].normaliser)
