"""How much of the teacher a transfer set kept, and how good its answers are: read before any training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kdprobe.problems.problem import Problem
from kdprobe.transfer.selection import is_right
from kdprobe.transfer.transfer_set import TransferSet

TAIL_EDGES = (0.0, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Borders of the histogram of the mass outside the top k."""


@dataclass(frozen=True)
class Retained:
    """What the top k keep of the teacher's distribution at one temperature.

    Attributes:
        temperature: T.
        mass: Mean probability inside the top k.
        truncation_kl: Mean over positions of KL(top k renormalised || teacher) = -log of that probability, in nats:
            what would be lost without a tail.
        tail_histogram: Positions by their mass outside the top k; `TAIL_EDGES` are the borders.
    """

    temperature: float
    mass: float
    truncation_kl: float
    tail_histogram: tuple[int, ...]


@dataclass(frozen=True)
class Fidelity:
    """Measurements of one transfer set.

    Attributes:
        responses: How many.
        accuracy: Share of responses whose extracted value is the gold value.
        cut_off: Share that reached the token budget.
        untaught: The problems of those that hold nothing to learn: filtered, refused, too long a prompt, or thinking
            alone that is not taught.
        ended: Why they ended, as a server calls it, to how many; empty where no server says it.
        thinking: Share of responses that the teacher thought before.
        unclosed_thinking: Share whose thinking never ended.
        thinking_tokens: Mean tokens of thinking of a response that has any, or `None`.
        dropped_thinking: Share of responses whose thinking students do not learn.
        mean_tokens: Mean length in tokens of those that hold something, end of turn included.
        longest: The longest response in tokens.
        retained: At temperature 1 first, then at every planned one; empty without log-probabilities.
        bytes_per_token: On disk, all columns and overhead.
        tokens_per_second: Response tokens over the time that the teacher took, the loading of its weights left out.
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
    """What is kept where the tail has these log-masses `[positions]`."""
    # Up to the resolution of the float32 that they are stored in, so that the logarithm below stays finite.
    tail = np.minimum(np.exp(tail_logmass.astype(np.float64)), 1 - 2.0**-24)
    histogram, _ = np.histogram(tail, bins=TAIL_EDGES)
    return Retained(
        temperature=temperature,
        mass=float(1 - tail.mean()),
        truncation_kl=float(-np.log1p(-tail).mean()),
        tail_histogram=tuple(int(count) for count in histogram),
    )
