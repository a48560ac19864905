"""Reading what is already written: the teacher's distribution at every token of a text, teacher-forced."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from kdprobe.models.batching import right_padded
from kdprobe.models.load import LoadedModel
from kdprobe.teachers.teacher import Passage, Sampling, SparseRows
from kdprobe.teachers.top_k_capture import top_k

_CHUNK = 256
"""How many rows as wide as the vocabulary there are at once."""


def score_batch(model: LoadedModel, batch: Sequence[Passage], sampling: Sampling) -> Iterator[tuple[str, SparseRows]]:
    """One forward pass over a batch of passages.

    Args:
        model: The teacher.
        batch: Passages; padded on the right, so that positions are those of an unpadded read.
        sampling: k and the temperatures; nothing is sampled.

    Yields:
        The id of a passage, and a row for each of its scored tokens.
    """
    pad = model.tokenizer.pad_token_id
    ids, mask = right_padded([[*passage.prompt, *passage.token_ids] for passage in batch], pad, model.device)
    # Position t speaks of token t + 1. The head runs only where some passage of the batch is scored.
    first = min(len(passage.prompt) for passage in batch) - 1
    positions = torch.arange(first, ids.shape[1] - 1, device=model.device)
    with torch.inference_mode():
        logits = model.model(input_ids=ids, attention_mask=mask, logits_to_keep=positions, use_cache=False).logits
        for passage, row in zip(batch, logits, strict=True):
            start = len(passage.prompt) - 1 - first
            passage_logits = row[start : start + len(passage.token_ids), : len(model.tokenizer)]
            yield passage.id, _rows(passage_logits, torch.tensor(passage.token_ids, device=model.device), sampling)


def _rows(logits: Tensor, tokens: Tensor, sampling: Sampling) -> SparseRows:
    """Logits `[tokens, V]` cut to their top k, chunk by chunk; `tokens` is what was written at each."""
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
