"""Padding in saved attention: recognised by a mask or by the weights themselves, at both ends of a prompt."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kdprobe.errors import UsageError
from kdprobe.words import counted

NEGLIGIBLE = 1e-6
"""Attention that a masked key may have: masks are large negative numbers rather than minus infinity."""
_HINT = "Save the attention_mask of the forward pass in the same file, or save each prompt separately, without padding."
_WRONG_MASK = "Save the attention_mask that was passed to the model, or save each prompt separately, without padding."


def by_mask(pattern: NDArray[np.floating], mask: NDArray[np.bool_], file: Path) -> tuple[int, int]:
    """How many positions of padding a mask states, on the left and on the right.

    Args:
        pattern: `[layer, head, query, key]`, with padding.
        mask: Whether each position is a token, `[position]`.
        file: For messages.

    Raises:
        UsageError: The mask has a different length, is empty or has holes, or tokens attend to what it marks as
            padding.
    """
    length = pattern.shape[-1]
    positions = np.flatnonzero(mask)
    if not len(positions):
        raise UsageError(f"In the attention mask in {file}, a prompt consists entirely of padding.", _WRONG_MASK)
    if len(mask) != length:
        raise UsageError(
            f"The attention mask in {file} has {counted(len(mask), 'position')}, but the patterns have {length}.",
            _WRONG_MASK,
        )
    first, last = int(positions[0]), int(positions[-1])
    if len(positions) != last - first + 1:
        raise UsageError(f"The attention mask in {file} has padding between tokens.", _WRONG_MASK)
    reached = pattern[:, :, first : last + 1][..., ~mask]
    if reached.size and float(np.nan_to_num(reached, nan=1.0).max()) > NEGLIGIBLE:
        raise UsageError(
            f"Tokens in {file} attend to positions that the attention mask marks as padding, so the model did not use "
            "the mask.",
            "Pass the attention mask to the model when you record its attention.",
        )
    return first, length - 1 - last


def by_weights(pattern: NDArray[np.floating], file: Path) -> tuple[int, int]:
    """How many positions of padding the weights show, on the left and on the right.

    On the right, nothing attends to padding, not even padding itself. On the left, no token does, and the rows of
    masked queries are recognisable.

    Args:
        pattern: `[layer, head, query, key]`, perhaps with padding.
        file: For messages.

    Raises:
        UsageError: Several sequences seem to be packed into one.
    """
    # The largest weight of any head. NaN may come from padding on the left, but counts as attention everywhere else.
    largest = np.nan_to_num(pattern, nan=1.0).max(axis=(0, 1))
    right = _padding_right(largest)
    end = len(largest) - right
    largest, rows = largest[:end, :end], pattern[:, :, :end, :end]
    unattended = [first for first in range(1, end) if largest[first:, :first].max() <= NEGLIGIBLE]
    masked = _masked_queries(rows)
    for first in reversed(unattended):
        beyond = _attends_later(largest[:first]) & (not _attends_later(largest[first:, first:]).any())
        if (masked[:first] | beyond).all():
            return first, right
    if any(np.tril(largest[:first, :first], -1).max() > NEGLIGIBLE for first in unattended):
        raise UsageError(
            f"In {file}, no token from position {max(unattended)} onwards attends to any position before "
            f"{max(unattended)}: several sequences are packed into one, or padding attends to itself.",
            _HINT,
        )
    return 0, right


def _padding_right(largest: NDArray[np.floating]) -> int:
    """The largest n such that nothing attends to the last n positions, not even they themselves."""
    attended = largest.max(axis=0) > NEGLIGIBLE
    return int(np.argmax(attended[::-1])) if attended.any() else 0


def _masked_queries(rows: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Which rows are what a softmax leaves of a masked query in every head: NaN, nothing, or all keys alike.

    Args:
        rows: `[layer, head, query, key]`.
    """
    if rows.shape[-1] == 1:
        return np.zeros(1, dtype=np.bool_)
    empty = np.isnan(rows).all(axis=-1) | (rows == 0).all(axis=-1)
    alike: NDArray[np.bool_] = (empty | (np.ptp(rows, axis=-1) <= NEGLIGIBLE)).all(axis=(0, 1))
    return alike


def _attends_later(largest: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Which queries attend to keys after them, `[query]`."""
    later: NDArray[np.bool_] = np.triu(largest, 1).max(axis=-1, initial=0.0) > NEGLIGIBLE
    return later
