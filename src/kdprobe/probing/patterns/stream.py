"""Streaming: patterns are looked at as they appear, and no pattern outlives the next layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kdprobe.console import Progress
from kdprobe.models.batching import left_padded, right_padded
from kdprobe.probing.metrics.metric import HeadMetric
from kdprobe.probing.patterns.real_keys import over_real_keys
from kdprobe.probing.patterns.view import PatternView
from kdprobe.students.bridge import BridgedStudent
from kdprobe.students.pattern_sources import Prefix, Visit
from kdprobe.students.sequence import ProblemSequence

Padding = Literal["left", "right"]


def head_metrics(
    student: BridgedStudent,
    sequences: Sequence[ProblemSequence],
    metrics: Mapping[str, HeadMetric],
    *,
    batch_size: int,
    bar: Progress,
    padding: Padding = "right",
) -> dict[str, NDArray[np.float64]]:
    """Measures every head on every sequence.

    Args:
        student: Inside TransformerLens.
        sequences: What it reads; batches are made of sequences of like length.
        metrics: Name to metric.
        batch_size: Sequences at once.
        bar: Advanced by one per sequence.
        padding: On which side; no metric depends on it.

    Returns:
        Metric to values `[sequence, layer, head]`, in the order of `sequences`.
    """
    config = student.bridge.cfg
    prefix = student.prefix([sequence.ids for sequence in sequences])
    values = {name: np.full((len(sequences), config.n_layers, config.n_heads), np.nan) for name in metrics}
    for indices in batches([len(sequence.ids) for sequence in sequences], batch_size):
        batch = [sequences[index] for index in indices]
        measured: dict[str, list[Tensor]] = {name: [] for name in metrics}
        views = _Views(batch, padding, config.device)

        def reduce(layer: int, pattern: Tensor, *, views: _Views = views, measured: Any = measured) -> None:
            view = views.layer(layer, pattern)
            for name, metric in metrics.items():
                measured[name].append(metric.measure(view))

        forward(student, [sequence.ids for sequence in batch], reduce, prefix=prefix, padding=padding)
        for name, layers in measured.items():
            values[name][indices] = torch.stack(layers, dim=1).double().cpu().numpy()
        bar.advance(len(indices), work=sum(len(sequence.ids) for sequence in batch))
    return values


def batches(lengths: Sequence[int], size: int) -> Iterator[list[int]]:
    """Indices in batches of like length, longest first: shorter ones then find room in memory that was used before."""
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    for start in range(0, len(order), size):
        yield order[start : start + size]


def forward(
    student: BridgedStudent,
    ids: Sequence[Sequence[int]],
    visit: Visit,
    *,
    prefix: Prefix | None = None,
    padding: Padding = "right",
) -> None:
    """One forward pass over one batch, up to the last layer's pattern, every layer's shown once.

    Args:
        student: Inside TransformerLens.
        ids: Token ids of every row.
        visit: Called for each layer in turn. What it is shown is the model's own memory.
        prefix: What all rows begin with, if it was read before.
        padding: On which side. With padding before it, a prefix is read again.
    """
    pad = left_padded if padding == "left" else right_padded
    padded = pad(ids, student.tokenizer.pad_token_id, student.bridge.cfg.device)
    student.show(*padded, visit, prefix if padding == "right" else None)


def read(
    student: BridgedStudent,
    ids: Sequence[Sequence[int]],
    visit: Callable[[int, int, Tensor], None],
    *,
    prefix: Prefix | None = None,
) -> list[float]:
    """One forward pass as in `forward`, shown one sequence after the other in every layer, without padding.

    Args:
        student: Inside TransformerLens.
        ids: Token ids of every row.
        visit: Is given the row, the layer, and the pattern over real keys, `[head, query, key]`.
        prefix: What all rows begin with, if it was read before.

    Returns:
        The share of its attention that each sequence leaves to learned sinks in each layer; 0 in models without any.
    """
    shares: list[float] = []
    real = torch.ones(1, max(map(len, ids)), dtype=torch.bool, device=student.bridge.cfg.device)

    def show(layer: int, pattern: Tensor) -> None:
        for row, sequence in enumerate(ids):
            length = len(sequence)
            alone = pattern[row, None, :, :length, :length]
            over_tokens, left = over_real_keys(alone, real[:, :length])
            shares.append(0.0 if left is None else float(left.mean()))
            visit(row, layer, over_tokens[0])

    forward(student, ids, show, prefix=prefix)
    return shares


class _Views:
    """The views of one batch, layer after layer."""

    def __init__(self, batch: Sequence[ProblemSequence], padding: Padding, device: Any) -> None:
        lengths = [len(sequence.ids) for sequence in batch]
        starts = [max(lengths) - length if padding == "left" else 0 for length in lengths]

        def mask(positions: Sequence[Sequence[int]]) -> Tensor:
            """Where these positions of each sequence are in the batch, `[batch, position]`."""
            marked = torch.zeros(len(batch), max(lengths), dtype=torch.bool)
            for row, start in enumerate(starts):
                marked[row, [start + position for position in positions[row]]] = True
            return marked.to(device)

        self._valid = valid = mask([range(length) for length in lengths])
        tokens = torch.zeros_like(valid, dtype=torch.long)
        tokens[valid] = torch.tensor([id_ for sequence in batch for id_ in sequence.ids], device=device)
        self._make = partial(
            PatternView,
            tokens=tokens,
            valid_queries=valid,
            valid_keys=valid,
            spans={
                name: mask([getattr(sequence, name) for sequence in batch])
                for name in ("question", "numbers", "answer")
            },
            shared={},
        )
        self._below: Tensor | None = None

    def layer(self, layer: int, pattern: Tensor) -> PatternView:
        """The next layer's view; it keeps the layer below's pattern alive, and only that."""
        pattern, left = over_real_keys(pattern, self._valid)
        view: PatternView = self._make(pattern=pattern, below=self._below, layer=layer, sink=left)
        self._below = pattern
        return view
