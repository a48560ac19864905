"""Cuts a teacher's distributions to as few tokens as leave a small tail at every planned temperature.

For the forward KL, with the tail as one cell, this changes little: at a tail of mass m, the gradient with respect to
the student's logits at temperature T is off by at most 2 m / T in the sum of absolute values, and only outside the kept
tokens. Other divergences weigh the student's tail, which no cut of the teacher bounds.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdprobe.teachers.teacher import NO_TOKEN, SparseRows


def fewest(rows: SparseRows, tail: float) -> SparseRows:
    """Rows with the fewest tokens, at least one, that leave at most this mass outside at every temperature.

    Args:
        rows: The rows, largest probabilities first.
        tail: The mass; a position whose k tokens leave more outside keeps all of them.

    Returns:
        Rows as wide as the longest of them needs, filled up with `NO_TOKEN` and -inf. The tails are those of the kept
        tokens, computed in float64.
    """
    positions, k = rows.ids.shape
    if not positions:
        return rows
    outside = {t: _outside(rows.logprobs, mass, t) for t, mass in rows.tail_logmass.items()}
    counts = np.ones(positions, dtype=np.int64)
    for mass in outside.values():
        enough = mass <= tail
        counts = np.maximum(counts, np.where(enough.any(axis=1), enough.argmax(axis=1) + 1, k))
    width = int(counts.max())
    dropped = np.arange(width) >= counts[:, None]
    whole, every = counts == k, np.arange(positions)
    with np.errstate(divide="ignore"):
        tails = {t: np.log(mass[every, counts - 1]).astype(np.float32) for t, mass in outside.items()}
    return SparseRows(
        ids=np.where(dropped, NO_TOKEN, rows.ids[:, :width]),
        logprobs=np.where(dropped, -np.inf, rows.logprobs[:, :width]).astype(rows.logprobs.dtype),
        tail_logmass={t: np.where(whole, rows.tail_logmass[t], tails[t]) for t in tails},
        token_logprobs=rows.token_logprobs,
    )


def _outside(
    logprobs: NDArray[np.floating[Any]], tail_logmass: NDArray[np.float32], temperature: float
) -> NDArray[np.float64]:
    """The mass outside the first 1, 2, ... tokens at a temperature, `[tokens, k]`.

    The top k are known up to a factor, which follows from the mass outside all of them.
    """
    scaled = logprobs.astype(np.float64) / temperature
    shares = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    tail = np.exp(tail_logmass.astype(np.float64))[:, None]
    masses = shares / shares.sum(axis=1, keepdims=True) * (1 - tail)
    # Added from the smallest, so that a small rest is not the difference of two large numbers.
    later = np.cumsum(masses[:, :0:-1], axis=1)[:, ::-1]
    outside: NDArray[np.float64] = np.concatenate([later, np.zeros_like(tail)], axis=1) + tail
    return outside
