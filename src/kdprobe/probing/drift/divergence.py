"""KL divergence per token over the whole vocabulary, a few rows of logits at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from math import isfinite

import torch
from torch import Tensor

from kdprobe.console import Progress
from kdprobe.errors import KdprobeError, NonFiniteError
from kdprobe.models.batching import batches, right_padded
from kdprobe.models.forward.prefix import logits_once
from kdprobe.models.lm_head import logits_in_chunks, without_lm_head
from kdprobe.models.load import LoadedModel
from kdprobe.probing.drift.sampling import Sample


@dataclass(frozen=True)
class Reader:
    """A model whose output layer is detached where that is possible, so that no `[tokens, V]` tensor exists.

    Attributes:
        name: Its name, for errors.
        loaded: The model.
        matrix: The output matrix, `[V, d_model]`, or `None` if the model returns logits.
        kept: Rows of batches that are read for several students; `None` keeps none.
    """

    name: str
    loaded: LoadedModel
    matrix: Tensor | None
    kept: dict[tuple[Sample, ...], list[Tensor]] | None = field(default=None, repr=False)

    @property
    def vocabulary(self) -> int:
        """The number of real token ids."""
        return len(self.loaded.tokenizer)

    def rows(self, batch: Sequence[Sample]) -> list[Tensor]:
        """The rows that predict each token of each sample: hidden states `[tokens, d_model]`, or logits."""
        if self.kept is None or self.matrix is None:
            return self._read(batch)
        if (key := tuple(batch)) not in self.kept:
            # Copied, because the rows are views into those of whole prompts.
            self.kept[key] = [rows.clone() for rows in self._read(batch)]
        return self.kept[key]

    def logits(self, rows: Tensor) -> Iterator[Tensor]:
        """Logits `[rows, V]` in float32, a few rows at a time."""
        return logits_in_chunks(rows, self.matrix, self.vocabulary)

    def _read(self, batch: Sequence[Sample]) -> list[Tensor]:
        model, pad = self.loaded.model, self.loaded.tokenizer.pad_token_id
        ids, mask = right_padded([(*each.prompt.ids, *each.tokens) for each in batch], pad, self.loaded.device)
        # Row t - 1 predicts token t; rows before the end of the shortest prompt predict no written token.
        first = min(len(each.prompt.ids) for each in batch) - 1
        keep = torch.arange(first, ids.shape[1], device=ids.device)
        read = logits_once(model, ids, mask, keep)
        starts = [len(each.prompt.ids) - 1 - first for each in batch]
        return [
            read[row, start : start + len(each.tokens)]
            for row, (start, each) in enumerate(zip(starts, batch, strict=True))
        ]


@contextmanager
def reading(name: str, loaded: LoadedModel, *, keeps: bool = False) -> Iterator[Reader]:
    """A model as it is read for divergences.

    Args:
        name: Its name, for errors.
        loaded: The model.
        keeps: Whether to keep the rows of each batch for the next student.
    """
    with ExitStack() as stack:
        # Only here: a student that is loaded in inference mode could never have gradients.
        with torch.inference_mode():
            matrix = stack.enter_context(without_lm_head(loaded.model, len(loaded.tokenizer)))
        yield Reader(name, loaded, matrix, {} if keeps else None)


@torch.inference_mode()
def divergences(p: Reader, q: Reader, samples: Sequence[Sample], *, batch_size: int, bar: Progress) -> list[float]:
    """KL(p || q) of each sample: the sum over its tokens, in nats.

    Args:
        p: The model whose distribution weights the logarithms.
        q: The other model, with the same vocabulary.
        samples: Text, usually written by p.
        batch_size: Samples read at once; 1 is used if a model returns logits.
        bar: Advanced by one per sample.

    Raises:
        KdprobeError: The models have logits for different numbers of tokens.
        NonFiniteError: A logit is NaN or infinite.
    """
    lengths = [len(sample.prompt.ids) + len(sample.tokens) for sample in samples]
    size = batch_size if p.matrix is not None and q.matrix is not None else 1
    sums: dict[int, float] = {}
    for indices in batches(lengths, size):
        batch = [samples[index] for index in indices]
        for index, p_rows, q_rows in zip(indices, p.rows(batch), q.rows(batch), strict=True):
            sums[index] = sum(
                float(token_divergences(*map(log_distribution, _comparable(p, q, p_logits, q_logits))).double().sum())
                for p_logits, q_logits in zip(p.logits(p_rows), q.logits(q_rows), strict=True)
            )
            if not isfinite(sums[index]):
                prompt = samples[index].prompt.id
                raise NonFiniteError(
                    f"The logits of {p.name!r} or {q.name!r} for the answer to prompt {prompt!r} are NaN or infinite."
                )
        bar.advance(len(batch), work=sum(lengths[index] for index in indices))
    return [sums[index] for index in range(len(samples))]


def log_distribution(logits: Tensor) -> Tensor:
    """The log-probability of every token, `[rows, V]`, from float32 logits."""
    return logits - logits.logsumexp(dim=-1, keepdim=True)


def token_divergences(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL(p || q) of each row, `[rows]`, in nats, from what `log_distribution` returns.

    Summed as p (log p - log q) - p + q, whose every term is at least 0. Both distributions sum to 1, so the last two
    terms cancel, and with them, to first order, the rounding of the normalisation.
    """
    p = log_p.exp()
    return (p * (log_p - log_q) - p + log_q.exp()).sum(dim=-1).clamp_min(0.0)


def _comparable(p: Reader, q: Reader, p_logits: Tensor, q_logits: Tensor) -> tuple[Tensor, Tensor]:
    if p_logits.shape != q_logits.shape:
        raise KdprobeError(
            f"{p.name!r} has logits for {p_logits.shape[-1]} tokens, but {q.name!r} has logits for "
            f"{q_logits.shape[-1]}.",
            "Their distributions cannot be compared; leave one of them out.",
        )
    return p_logits, q_logits.to(p_logits.device)
