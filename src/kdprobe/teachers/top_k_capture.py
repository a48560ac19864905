"""Captures the top k log-probabilities and the tail's exact mass during decoding, without a second pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import LogitsProcessor

from kdprobe.errors import NonFiniteError
from kdprobe.teachers.teacher import SparseRows


class TopK(NamedTuple):
    """Distributions cut to their top k.

    Attributes:
        ids: Token ids of the k largest, `[rows, k]`, largest first, int32.
        logprobs: Their natural log-probabilities at temperature 1, `[rows, k]`, float32.
        tails: Log of the mass outside them at every temperature, `[temperatures, rows]`, float32; -inf if k = V.
        normaliser: Logit minus log-probability at temperature 1, `[rows]`.
    """

    ids: Tensor
    logprobs: Tensor
    tails: Tensor
    normaliser: Tensor


def top_k(logits: Tensor, k: int, temperatures: tuple[float, ...], scratch: Tensor | None = None) -> TopK:
    """Cuts dense logits to their top k; reads all of V once for the top k and once per temperature.

    Args:
        logits: `[rows, V]`, without padding columns.
        k: At most V.
        temperatures: Temperatures at which to compute the tail's mass.
        scratch: A float32 buffer shaped like `logits`. Allocating V columns anew costs more than the computation.
    """
    logits = logits.float()
    scratch = torch.empty_like(logits) if scratch is None else scratch
    top = logits.topk(min(k + 1, logits.shape[-1]), dim=-1)
    ids, values = top.indices[:, :k], top.values[:, :k]
    # If all others are ruled out, -inf minus -inf would give NaN.
    largest_other = top.values[:, k:].clamp(min=torch.finfo(logits.dtype).min)

    def others(temperature: float) -> Tensor:
        """Logsumexp of all others, `[rows, 1]`; 1 - sum would lose a tail below 1e-7 to rounding."""
        if k == logits.shape[-1]:
            return torch.full_like(values[:, :1], -torch.inf)
        shares = torch.sub(logits, largest_other, out=scratch).div_(temperature).exp_().scatter_(1, ids, 0.0)
        return largest_other / temperature + shares.sum(dim=-1, keepdim=True).log()

    def cells(temperature: float) -> Tensor:
        """The top k and all others combined into one: k + 1 logits that represent V."""
        return torch.cat([values / temperature, others(temperature)], dim=-1)

    plain = cells(1.0)
    normaliser = plain.logsumexp(dim=-1)
    tails = [(plain if t == 1 else cells(t)).log_softmax(dim=-1)[:, -1] for t in temperatures]
    return TopK(ids.int(), values - normaliser[:, None], torch.stack(tails), normaliser)


class RealTokens(LogitsProcessor):  # type: ignore[misc]  # transformers is untyped
    """Rules out the columns beyond the vocabulary, which pad a model's output matrix and represent no token.

    Args:
        vocabulary: Number of real token ids.
    """

    def __init__(self, vocabulary: int) -> None:
        self.vocabulary = vocabulary

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:  # noqa: ARG002
        """Scores `[batch, V]`, with -inf in the padding columns."""
        if scores.shape[-1] <= self.vocabulary:
            return scores
        padding = torch.full_like(scores[:, self.vocabulary :], -torch.inf)
        return torch.cat([scores[:, : self.vocabulary], padding], dim=-1)


class TopKCapture(LogitsProcessor):  # type: ignore[misc]  # transformers is untyped
    """Receives the raw logits of every decoding step first, keeps their top k, and passes them on unchanged.

    Later processors must not modify their scores in place; those of transformers make new ones.

    Args:
        k: Number of log-probabilities to keep; at most the vocabulary.
        vocabulary: Number of real token ids; padding columns beyond them are ignored.
        temperatures: Temperatures at which the tail's mass is kept.
        ends: Tokens that end an answer; everything after them is dropped.
        names: Names of the sequences in the batch.
        on_step: Called at each step with the number of tokens that it adds to unfinished answers.
    """

    def __init__(
        self,
        k: int,
        vocabulary: int,
        temperatures: tuple[float, ...],
        ends: frozenset[int] = frozenset(),
        names: Sequence[str] = (),
        *,
        on_step: Callable[[int], None] | None = None,
    ) -> None:
        self.k = min(k, vocabulary)
        self.vocabulary = vocabulary
        self.temperatures = temperatures
        self._steps: list[TopK] = []
        self._written: list[Tensor] = []
        self._pending: Tensor | None = None
        self._scratch: Tensor | None = None
        self._ends, self._names = ends, names
        self._ended: Tensor | None = None
        self._on_step = on_step

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Captures one decoding step: `input_ids` `[batch, so far]`, raw logits `scores` `[batch, V]`.

        Raises:
            NonFiniteError: The logits of an unfinished answer are NaN or infinite. A logit of -inf is allowed: it rules
                a token out.
        """
        self._note_written(input_ids[:, -1])
        self._pending = scores[:, : self.vocabulary]
        if self._scratch is None:
            self._scratch = torch.empty_like(self._pending, dtype=torch.float32)
        self._steps.append(top_k(self._pending, self.k, self.temperatures, self._scratch))
        # Not finite where a logit is NaN or +inf, or all of them are -inf.
        broken = ~self._steps[-1].normaliser.isfinite()
        if self._ended is not None:
            broken &= ~self._ended
        if broken.any():
            row = int(broken.nonzero()[0, 0])
            name = f" for {self._names[row]!r}" if self._names else ""
            raise NonFiniteError(f"The teacher's logits{name} are NaN or infinite at token {len(self._steps)}.")
        if self._on_step:
            self._on_step(len(scores) if self._ended is None else int((~self._ended).sum()))
        return scores

    def finish(self, sequences: Tensor) -> None:
        """Records the last token after decoding: `sequences` `[batch, prompt + response]`."""
        self._note_written(sequences[:, -1])
        self._pending = self._scratch = None

    def rows(self, index: int, tokens: int) -> SparseRows:
        """The rows captured for one sequence of the batch, over its first `tokens` response positions."""
        steps = self._steps[:tokens]
        tails = torch.stack([step.tails[:, index] for step in steps], dim=1).cpu()
        return SparseRows(
            ids=torch.stack([step.ids[index] for step in steps]).cpu().numpy(),
            logprobs=torch.stack([step.logprobs[index] for step in steps]).cpu().numpy(),
            tail_logmass={t: tail.numpy() for t, tail in zip(self.temperatures, tails, strict=True)},
            token_logprobs=torch.stack([step[index] for step in self._written[:tokens]]).cpu().numpy(),
        )

    def _note_written(self, tokens: Tensor) -> None:
        if self._pending is not None:
            # A padding id of a finished sequence may lie outside the real vocabulary; its row is dropped later.
            column = tokens.clamp(max=self.vocabulary - 1)[:, None]
            logits = self._pending.gather(1, column)[:, 0].float()
            self._written.append(logits - self._steps[-1].normaliser)
            ended = torch.isin(tokens, torch.tensor(sorted(self._ends), device=tokens.device))
            self._ended = ended if self._ended is None else self._ended | ended
