"""Streaming: patterns are measured as they are computed, and none is kept beyond the next layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kdprobe.console import Progress
from kdprobe.models.batching import batches, left_padded, right_padded
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
        student: The student in TransformerLens.
        sequences: The sequences that it reads; batches have sequences of similar length.
        metrics: The metrics by name.
        batch_size: Sequences per batch.
        bar: Advanced by one per sequence.
        padding: The side of the padding; no metric depends on it.

    Returns:
        For each metric, values `[sequence, layer, head]`, in the order of `sequences`.
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


def forward(
    student: BridgedStudent,
    ids: Sequence[Sequence[int]],
    visit: Visit,
    *,
    prefix: Prefix | None = None,
    padding: Padding = "right",
) -> None:
    """Runs one forward pass over a batch, up to the last layer's pattern, and calls `visit` once per layer.

    Args:
        student: The student in TransformerLens.
        ids: Token ids of every row.
        visit: Called for each layer in turn, with the model's own memory.
        prefix: The common prefix of all rows, if it has been read.
        padding: The side of the padding. With padding on the left, a prefix is read again.
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
    """Like `forward`, but calls `visit` once per layer and sequence, without padding.

    Args:
        student: The student in TransformerLens.
        ids: Token ids of every row.
        visit: Called with the row, the layer, and the pattern over real keys, `[head, query, key]`.
        prefix: The common prefix of all rows, if it has been read.

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
            """Marks these positions of each sequence in the batch, `[batch, position]`."""
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
        """Returns the next layer's view, which keeps only the pattern of the layer below alive."""
        pattern, left = over_real_keys(pattern, self._valid)
        view: PatternView = self._make(pattern=pattern, below=self._below, layer=layer, sink=left)
        self._below = pattern
        return view
