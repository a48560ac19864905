"""Measures how much of the teacher a transfer set keeps, and how good its answers are, before any training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kdprobe.problems.problem import Problem
from kdprobe.transfer.selection import is_right
from kdprobe.transfer.transfer_set import TransferSet

TAIL_EDGES = (0.0, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Bin edges of the histogram of the mass outside the top k."""


@dataclass(frozen=True)
class Retained:
    """How much of the teacher's distribution the top k keep at one temperature.

    Attributes:
        temperature: The temperature T.
        mass: Mean probability inside the top k.
        truncation_kl: Mean over positions of KL(top k renormalised || teacher) = -log of that probability, in nats:
            the loss if the tail were dropped.
        tail_histogram: Number of positions by mass outside the top k; `TAIL_EDGES` are the bin edges.
    """

    temperature: float
    mass: float
    truncation_kl: float
    tail_histogram: tuple[int, ...]


@dataclass(frozen=True)
class Fidelity:
    """Measurements of one transfer set.

    Attributes:
        responses: Number of responses.
        accuracy: Share of responses whose extracted value is the gold value.
        cut_off: Share that reached the token budget.
        untaught: The problems whose responses contain nothing to learn from: filtered, refused, too long a prompt, or
            only thinking that is not taught.
        ended: Number of responses by the server's finish reason; empty if no server reports one.
        thinking: Share of responses with thinking.
        unclosed_thinking: Share whose thinking never ended.
        thinking_tokens: Mean number of thinking tokens over the responses that have any, or `None`.
        dropped_thinking: Share of responses whose thinking is not taught to students.
        mean_tokens: Mean length in tokens of the non-empty responses, including the end of turn.
        longest: Length of the longest response in tokens.
        retained: At temperature 1 first, then at every planned one; empty without log-probabilities.
        bytes_per_token: Bytes per token on disk, including all columns and overhead.
        tokens_per_second: Response tokens per second of the teacher's time, not counting the loading of its weights.
    """

    responses: int
    accuracy: float
    cut_off: float
    untaught: tuple[str, ...]
    ended: dict[str, int]
    thinking: float
    unclosed_thinking: float
    thinking_tokens: float | None
    dropped_thinking: float
    mean_tokens: float
    longest: int
    retained: tuple[Retained, ...]
    bytes_per_token: float | None
    tokens_per_second: float | None


def fidelity(transfer: TransferSet, problems: Sequence[Problem]) -> Fidelity:
    """Measures a transfer set against the problems it answers."""
    responses = transfer.responses
    by_id = {problem.id: problem for problem in problems}
    lengths = [len(response.token_ids) for response in responses if len(response.token_ids)]
    thoughts = [response.thinking for response in responses if response.thinking is not None]
    tokens = [thought.tokens for thought in thoughts if thought.tokens is not None]
    seconds = transfer.manifest.get("seconds")
    return Fidelity(
        responses=len(responses),
        accuracy=float(np.mean([is_right(response, by_id[response.id]) for response in responses])),
        cut_off=float(np.mean([response.cut_off for response in responses])),
        untaught=tuple(response.id for response in responses if not len(response.token_ids)),
        ended=dict(Counter(response.finish_reason for response in responses if response.finish_reason is not None)),
        thinking=len(thoughts) / len(responses),
        unclosed_thinking=sum(not thought.closed for thought in thoughts) / len(responses),
        thinking_tokens=float(np.mean(tokens)) if tokens else None,
        dropped_thinking=sum(not thought.taught for thought in thoughts) / len(responses),
        mean_tokens=float(np.mean(lengths)) if lengths else 0.0,
        longest=max(lengths, default=0),
        retained=_retained(transfer),
        bytes_per_token=transfer.manifest.get("bytes_per_token"),
        tokens_per_second=sum(lengths) / seconds if seconds else None,
    )


def _retained(transfer: TransferSet) -> tuple[Retained, ...]:
    rows = [response.rows for response in transfer.responses if response.rows is not None and len(response.rows.ids)]
    temperatures = sorted(rows[0].tail_logmass, key=lambda t: (t != 1.0, t)) if rows else []
    return tuple(
        retained(np.concatenate([row.tail_logmass[temperature] for row in rows]), temperature)
        for temperature in temperatures
    )


def retained(tail_logmass: np.ndarray[tuple[int], np.dtype[np.float32]], temperature: float) -> Retained:
    """How much is kept, given the tail's log-masses `[positions]`."""
    # Clipped at the resolution of the stored float32, so that the logarithm below stays finite.
    tail = np.minimum(np.exp(tail_logmass.astype(np.float64)), 1 - 2.0**-24)
    histogram, _ = np.histogram(tail, bins=TAIL_EDGES)
    return Retained(
        temperature=temperature,
        mass=float(1 - tail.mean()),
        truncation_kl=float(-np.log1p(-tail).mean()),
        tail_histogram=tuple(int(count) for count in histogram),
    )
