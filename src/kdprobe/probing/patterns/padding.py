"""Padding in saved attention: recognised by a mask or by the weights themselves, and left out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kdprobe.errors import UsageError

_NEGLIGIBLE = 1e-6
"""Attention that a masked key may have: masks are large negative numbers rather than minus infinity."""
_HINT = "Save each prompt by itself, or the attention_mask of the forward pass in the same file."


@dataclass(frozen=True)
class Real:
    """Which positions of a sequence are tokens.

    Attributes:
        positions: Their indices, ascending.
        left: How many positions of padding precede them.
        right: How many follow.
        masked: Whether a mask said so; otherwise the weights did.
    """

    positions: NDArray[np.intp]
    left: int
    right: int
    masked: bool


def by_mask(pattern: NDArray[np.floating], mask: NDArray[np.bool_], file: Path) -> Real:
    """The tokens according to a mask.

    Args:
        pattern: `[layer, head, query, key]`, with padding.
        mask: Whether each position is a token, `[position]`.
        file: For messages.

    Raises:
        UsageError: The mask has another length, is empty or has holes, or tokens attend to what it marks as padding.
    """
    length = pattern.shape[-1]
    # While a model generates, the mask covers only the prompt; what follows are tokens.
    mask = np.concatenate([mask, np.ones(max(0, length - len(mask)), dtype=np.bool_)])
    positions = np.flatnonzero(mask)
    if len(mask) != length or not len(positions):
        raise UsageError(f"The attention mask in {file} does not fit sequences of {length} positions.", _HINT)
    first, last = int(positions[0]), int(positions[-1])
    if len(positions) != last - first + 1:
        raise UsageError(f"The attention mask in {file} has padding between tokens.", _HINT)
    reached = pattern[:, :, first : last + 1][..., ~mask]
    if reached.size and float(np.nan_to_num(reached, nan=1.0).max()) > _NEGLIGIBLE:
        raise UsageError(
            f"Tokens in {file} attend to positions that the attention mask marks as padding, so the model did not use "
            "the mask.",
            "Pass the attention mask to the model when you record its attention.",
        )
    return Real(positions, first, length - 1 - last, masked=True)


def by_weights(pattern: NDArray[np.floating], file: Path) -> Real:
    """The tokens according to the weights: no token attends to padding, and padding does not attend to itself.

    Args:
        pattern: `[layer, head, query, key]`, perhaps with padding.
        file: For messages.

    Raises:
        UsageError: Several sequences seem to be packed into one.
    """
    # The largest weight of any head. Rows of masked queries may be NaN.
    largest = np.nan_to_num(np.abs(pattern), nan=0.0).max(axis=(0, 1))
    right = _padding_right(largest)
    end = len(largest) - right
    left = _padding_left(largest[:end, :end])
    if left > 1 and _is_sequence(pattern[:, :, :left, :end]):
        raise UsageError(
            f"No token from position {left} on in {file} attends to one before it: several sequences are packed into "
            "one, or padding attends to itself.",
            _HINT,
        )
    return Real(np.arange(left, end), left, right, masked=False)


def _padding_right(largest: NDArray[np.floating]) -> int:
    """The largest n such that nothing attends to the last n positions, not even they themselves."""
    attended = largest.max(axis=0) > 0
    return int(np.argmax(attended[::-1])) if attended.any() else 0


def _padding_left(largest: NDArray[np.floating]) -> int:
    """The largest n such that no position from n on attends to one before n."""
    unattended = [first for first in range(1, len(largest)) if not largest[first:, :first].any()]
    return max(unattended, default=0) if largest.any() else 0


def _is_sequence(rows: NDArray[np.floating]) -> bool:
    """Whether rows are the attention of tokens, not of masked queries.

    The rows of masked queries are NaN, or spread evenly over all keys, later ones included.
    """
    if not np.isfinite(rows).all() or np.triu(rows.max(axis=(0, 1)), 1).any():
        return False
    uneven = np.where(rows > 0, rows, rows.max(axis=-1, keepdims=True))
    return bool((rows.max(axis=-1) - uneven.min(axis=-1)).max() > _NEGLIGIBLE)
