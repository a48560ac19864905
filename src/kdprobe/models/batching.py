"""Batches of token id sequences: grouping them by length, and padding them into tensors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor


def batches(lengths: Sequence[int], size: int) -> Iterator[list[int]]:
    """Groups indices into batches of similar length, longest first, so that shorter ones reuse memory."""
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    for start in range(0, len(order), size):
        yield order[start : start + size]


def left_padded(sequences: Sequence[Sequence[int]], pad: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Ids and mask `[batch, longest]`, padded on the left for decoding."""
    width = max(len(sequence) for sequence in sequences)
    ids = [[pad] * (width - len(sequence)) + list(sequence) for sequence in sequences]
    mask = [[0] * (width - len(sequence)) + [1] * len(sequence) for sequence in sequences]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)


def right_padded(sequences: Sequence[Sequence[int]], pad: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Ids and mask `[batch, longest]`, padded on the right for training and probing."""
    width = max(len(sequence) for sequence in sequences)
    ids = [list(sequence) + [pad] * (width - len(sequence)) for sequence in sequences]
    mask = [[1] * len(sequence) + [0] * (width - len(sequence)) for sequence in sequences]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)


def common_prefix(sequences: Sequence[Sequence[int]]) -> Sequence[int]:
    """The common prefix of several sequences; at least one token of each remains after it."""
    shortest = min(sequences, key=len, default=[])
    if len(sequences) == 1:
        return []
    width = max(len(shortest) - 1, 0)
    columns = zip(*(sequence[:width] for sequence in sequences), strict=True)
    return shortest[: next((position for position, ids in enumerate(columns) if len(set(ids)) > 1), width)]
