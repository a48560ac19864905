"""Capturing the top k log-probabilities and the tail's exact mass while decoding, without a second pass."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from transformers import LogitsProcessor

from kdprobe.teachers.teacher import SparseRows


class TopKCapture(LogitsProcessor):  # type: ignore[misc]  # transformers is untyped
    """Sees the raw logits of every decoding step first, keeps their top k, and passes them on unchanged.

    Args:
        k: How many log-probabilities to keep; at most the vocabulary.
        vocabulary: How many real token ids there are; padded columns beyond them are left out.
        temperatures: At which the tail's mass is kept.
    """

    def __init__(self, k: int, vocabulary: int, temperatures: tuple[float, ...]) -> None:
        self.k = min(k, vocabulary)
        self.vocabulary = vocabulary
        self.temperatures = temperatures
        self._ids: list[Tensor] = []
        self._logprobs: list[Tensor] = []
        self._tails: list[Tensor] = []
        self._written: list[Tensor] = []
        self._pending: Tensor | None = None

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """One decoding step: `input_ids` `[batch, so far]`, raw logits `scores` `[batch, V]`."""
        self._note_written(input_ids[:, -1])
        logprobs = scores[:, : self.vocabulary].float().log_softmax(dim=-1)
        top = logprobs.topk(self.k, dim=-1)
        self._ids.append(top.indices)
        self._logprobs.append(top.values)
        # The mass outside the top k by logsumexp over the others: 1 - sum would lose it to rounding below 1e-7.
        others = logprobs.scatter(1, top.indices, -torch.inf)
        tails = [torch.logsumexp(others / t, dim=-1) - torch.logsumexp(logprobs / t, dim=-1) for t in self.temperatures]
        self._tails.append(torch.stack(tails))
        self._pending = logprobs
        return scores

    def finish(self, sequences: Tensor) -> None:
        """Takes in the last written token, once decoding is over: `sequences` `[batch, prompt + response]`."""
        self._note_written(sequences[:, -1])
        self._pending = None

    def rows(self, index: int, tokens: int) -> SparseRows:
        """What was captured for one sequence of the batch, over its first `tokens` response positions."""

        def of(steps: list[Tensor]) -> Tensor:
            return torch.stack([step[index] for step in steps[:tokens]]).cpu()

        tails = torch.stack([step[:, index] for step in self._tails[:tokens]]).cpu()
        return SparseRows(
            ids=of(self._ids).to(torch.int32).numpy(),
            logprobs=of(self._logprobs).numpy().astype(np.float32),
            tail_logmass={t: tails[:, i].numpy() for i, t in enumerate(self.temperatures)},
            token_logprobs=of(self._written).numpy(),
        )

    def _note_written(self, tokens: Tensor) -> None:
        if self._pending is not None:
            # A padding id of a finished sequence may lie outside the real vocabulary; its row is dropped later.
            column = tokens.clamp(max=self.vocabulary - 1)[:, None]
            self._written.append(self._pending.gather(1, column)[:, 0])
