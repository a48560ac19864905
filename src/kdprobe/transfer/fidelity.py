"""Measures how much of the teacher a transfer set keeps, and how good its answers are, before any training."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from kdprobe.problems.problem import Problem
from kdprobe.teachers.teacher import Thinking
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
    by_id = {problem.id: problem for problem in problems}
    lengths: list[int] = []
    thoughts: list[Thinking] = []
    right = cut_off = 0
    untaught: list[str] = []
    ended: Counter[str] = Counter()
    tails: dict[float, _Tails] = {}
    # Once through, because not all of the distributions need fit into memory.
    for response in transfer.responses:
        right += is_right(response, by_id[response.id])
        cut_off += response.cut_off
        lengths += [len(response.token_ids)] if len(response.token_ids) else []
        untaught += [] if len(response.token_ids) else [response.id]
        thoughts += [] if response.thinking is None else [replace(response.thinking, text="")]
        ended.update([] if response.finish_reason is None else [response.finish_reason])
        if response.rows is not None and len(response.rows.ids):
            for temperature, tail in response.rows.tail_logmass.items():
                tails.setdefault(temperature, _Tails()).add(tail)
    count = len(transfer.responses)
    tokens = [thought.tokens for thought in thoughts if thought.tokens is not None]
    seconds = transfer.manifest.get("seconds")
    return Fidelity(
        responses=count,
        accuracy=right / count,
        cut_off=cut_off / count,
        untaught=tuple(untaught),
        ended=dict(ended),
        thinking=len(thoughts) / count,
        unclosed_thinking=sum(not thought.closed for thought in thoughts) / count,
        thinking_tokens=float(np.mean(tokens)) if tokens else None,
        dropped_thinking=sum(not thought.taught for thought in thoughts) / count,
        mean_tokens=float(np.mean(lengths)) if lengths else 0.0,
        longest=max(lengths, default=0),
        retained=tuple(tails[t].retained(t) for t in sorted(tails, key=lambda t: (t != 1.0, t))),
        bytes_per_token=transfer.manifest.get("bytes_per_token"),
        tokens_per_second=sum(lengths) / seconds if seconds else None,
    )


class _Tails:
    """Sums over the tails' masses at one temperature."""

    def __init__(self) -> None:
        self._positions = 0
        self._mass: list[float] = []
        self._kl: list[float] = []
        self._histogram = np.zeros(len(TAIL_EDGES) - 1, dtype=np.int64)

    def add(self, tail_logmass: np.ndarray[Any, np.dtype[np.float32]]) -> None:
        """Adds log-masses `[positions]`."""
        # Clipped at the resolution of the stored float32, so that the logarithm below stays finite.
        tail = np.minimum(np.exp(tail_logmass.astype(np.float64)), 1 - 2.0**-24)
        self._positions += len(tail)
        self._mass.append(float(tail.sum()))
        self._kl.append(float(-np.log1p(-tail).sum()))
        self._histogram += np.histogram(tail, bins=TAIL_EDGES)[0]

    def retained(self, temperature: float) -> Retained:
        """How much is kept."""
        return Retained(
            temperature=temperature,
            mass=1 - math.fsum(self._mass) / self._positions,
            truncation_kl=math.fsum(self._kl) / self._positions,
            tail_histogram=tuple(int(count) for count in self._histogram),
        )
