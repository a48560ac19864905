"""Distributions on their way from vLLM's processes to this one: a file with one record per position of an answer.

vLLM's own log-probabilities would not do. They are one Python object per token and alternative, count ids that no token
has, and say nothing about the other tokens' mass, which cannot be recovered from the top k at another temperature.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdprobe import KdprobeError
from kdprobe.teachers import SparseRows

KEY = "kdprobe"
"""The entry of `SamplingParams.extra_args` that `kdprobe_vllm.capture` reads."""
_AGREEMENT = 1e-3
"""How far, in nats, a token's log-probability may be from vLLM's own: both are float32, from the same logits."""


def record_type(k: int, temperatures: int) -> np.dtype[Any]:
    """What is written for a position.

    Args:
        k: Number of largest log-probabilities.
        temperatures: Number of temperatures.
    """
    return np.dtype(
        [
            ("request", "<i4"),
            ("position", "<i4"),
            # Log of the mass of real tokens among all ids; vLLM's log-probabilities minus this are over real tokens.
            ("real", "<f4"),
            ("ids", "<i4", (k,)),
            ("logprobs", "<f4", (k,)),
            ("tails", "<f4", (temperatures,)),
        ]
    )


def read_records(file: Path, lengths: Sequence[int], k: int, temperatures: int) -> list[NDArray[Any]]:
    """The records of every request, in the order of positions.

    Args:
        file: The file.
        lengths: Number of tokens of each request's answer.
        k: Number of largest log-probabilities.
        temperatures: Number of temperatures.

    Raises:
        KdprobeError: A position is missing.
    """
    kind = record_type(k, temperatures)
    found = np.fromfile(file, kind) if file.stat().st_size % kind.itemsize == 0 else np.empty(0, kind)
    # vLLM also computes logits while it still reads a prompt, and again after it made room for other requests: the
    # last record of a position is the one that a token was chosen from.
    order = np.lexsort((np.arange(len(found)), found["position"], found["request"]))
    found = found[order]
    last = np.ones(len(found), dtype=bool)
    last[:-1] = (found["request"][1:] != found["request"][:-1]) | (found["position"][1:] != found["position"][:-1])
    found = found[last]
    starts = np.searchsorted(found["request"], np.arange(len(lengths)))
    rows = []
    for start, length in zip(starts, lengths, strict=True):
        records = found[start : start + length]
        if not np.array_equal(records["position"], np.arange(length)):
            raise KdprobeError(
                "vLLM did not report its distribution at every token.",
                "All of vLLM's processes must run on this machine. Otherwise, use the teacher 'transformers', or "
                "'openai' with a vLLM server.",
            )
        rows.append(records)
    return rows


def sparse_rows(
    records: NDArray[Any], tokens: Sequence[int], logprobs: Sequence[float], temperatures: Sequence[float]
) -> SparseRows:
    """A teacher's distribution at every token.

    Args:
        records: One per token.
        tokens: The tokens.
        logprobs: Their log-probabilities as vLLM reports them, among all ids of the output layer.
        temperatures: The temperatures of the tails.

    Raises:
        KdprobeError: vLLM's log-probability of a token is not the one in its record.
    """
    own = np.asarray(logprobs, dtype=np.float64) - records["real"]
    listed = records["ids"] == np.asarray(tokens)[:, None]
    written = np.where(listed, records["logprobs"], 0.0).sum(axis=1)
    apart = np.abs(own - written)[listed.any(axis=1)]
    # kdprobe itself reports logits that are not finite.
    if (apart > _AGREEMENT).any():
        raise KdprobeError(
            f"vLLM's log-probability of a token differs by {apart[apart > _AGREEMENT].max():.2g} nats from the one in "
            "the distribution that was captured for it.",
            "The distributions may belong to other tokens, so use the teacher 'transformers'.",
        )
    return SparseRows(
        ids=records["ids"],
        logprobs=records["logprobs"],
        tail_logmass={
            temperature: np.ascontiguousarray(records["tails"][:, index])
            for index, temperature in enumerate(temperatures)
        },
        token_logprobs=own.astype(np.float32),
    )
