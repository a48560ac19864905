"""Scores existing texts: the teacher's distribution at every token, under teacher forcing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from kdprobe.models.batching import right_padded
from kdprobe.models.forward.prefix import logits_once
from kdprobe.models.load import LoadedModel
from kdprobe.teachers.teacher import Passage, Sampling, SparseRows
from kdprobe.teachers.top_k_capture import top_k

_CHUNK = 256
"""Number of rows of the size of the vocabulary held in memory at a time."""


def score_batch(model: LoadedModel, batch: Sequence[Passage], sampling: Sampling) -> Iterator[tuple[str, SparseRows]]:
    """Scores a batch of passages in one forward pass.

    Args:
        model: The teacher.
        batch: The passages; padded on the right, so that positions are the same as without padding.
        sampling: k and the temperatures; nothing is sampled.

    Yields:
        The id of a passage, and one row for each of its scored tokens.
    """
    pad = model.tokenizer.pad_token_id
    ids, mask = right_padded([[*passage.prompt, *passage.token_ids] for passage in batch], pad, model.device)
    # Position t predicts token t + 1. The head runs only at positions that some passage of the batch needs.
    first = min(len(passage.prompt) for passage in batch) - 1
    positions = torch.arange(first, ids.shape[1] - 1, device=model.device)
    with torch.inference_mode():
        logits = logits_once(model.model, ids, mask, positions)
        for passage, row in zip(batch, logits, strict=True):
            start = len(passage.prompt) - 1 - first
            passage_logits = row[start : start + len(passage.token_ids), : len(model.tokenizer)]
            yield passage.id, _rows(passage_logits, torch.tensor(passage.token_ids, device=model.device), sampling)


def _rows(logits: Tensor, tokens: Tensor, sampling: Sampling) -> SparseRows:
    """Logits `[tokens, V]` cut to their top k, in chunks; `tokens` are the actual tokens at these positions."""
    k = min(sampling.top_logprobs, logits.shape[-1])
    chunks = [top_k(chunk, k, sampling.temperatures) for chunk in torch.split(logits, _CHUNK)]
    written = logits.gather(1, tokens[:, None])[:, 0].float() - torch.cat([chunk.normaliser for chunk in chunks])
    tails = torch.cat([chunk.tails for chunk in chunks], dim=-1).cpu()
    return SparseRows(
        ids=torch.cat([chunk.ids for chunk in chunks]).cpu().numpy(),
        logprobs=torch.cat([chunk.logprobs for chunk in chunks]).cpu().numpy(),
        tail_logmass={t: tails[index].numpy() for index, t in enumerate(sampling.temperatures)},
        token_logprobs=written.cpu().numpy(),
    )
