"""Streaming: patterns are looked at in hooks as they appear, and no pattern outlives the next layer."""

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
from kdprobe.probing.head_metric import HeadMetric
from kdprobe.probing.sequences import ProblemSequence
from kdprobe.probing.view import PatternView
from kdprobe.students.bridge import BridgedStudent, pattern_hook

Visit = Callable[[int, int, Tensor], None]
"""Is given the row of a batch, the layer, and its pattern `[1, head, query, key]` without padding."""


def head_metrics(
    student: BridgedStudent,
    sequences: Sequence[ProblemSequence],
    metrics: Mapping[str, HeadMetric],
    *,
    batch_size: int,
    bar: Progress,
    padding: Literal["left", "right"] = "right",
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
    values = {name: np.full((len(sequences), config.n_layers, config.n_heads), np.nan) for name in metrics}
    for places in batches([len(sequence.ids) for sequence in sequences], batch_size):
        batch = [sequences[place] for place in places]
        views = [_Views(sequence, config.device) for sequence in batch]

        def reduce(row: int, layer: int, pattern: Tensor, *, views: list[_Views] = views) -> None:
            view = views[row].layer(layer, pattern)
            for name, metric in metrics.items():
                views[row].measured.setdefault(name, []).append(metric.measure(view)[0])

        read(student, [sequence.ids for sequence in batch], reduce, padding=padding)
        for place, view in zip(places, views, strict=True):
            for name, layers in view.measured.items():
                values[name][place] = torch.stack(layers).double().cpu().numpy()
        bar.advance(len(places), work=sum(len(sequence.ids) for sequence in batch))
    return values


def batches(lengths: Sequence[int], size: int) -> Iterator[list[int]]:
    """Places in batches of like length, shortest first."""
    order = sorted(range(len(lengths)), key=lambda place: lengths[place])
    for start in range(0, len(order), size):
        yield order[start : start + size]


def read(
    student: BridgedStudent,
    ids: Sequence[Sequence[int]],
    visit: Visit,
    *,
    padding: Literal["left", "right"] = "right",
) -> None:
    """One forward pass over one batch, every pattern shown once.

    Args:
        student: Inside TransformerLens.
        ids: Token ids of every row.
        visit: Called for each layer in turn, and in it for each row. What it is shown is the model's own memory.
        padding: On which side.
    """
    config = student.bridge.cfg
    pad = left_padded if padding == "left" else right_padded
    padded, mask = pad(ids, student.tokenizer.pad_token_id, config.device)
    width = padded.shape[1]

    def show(pattern: Tensor, hook: Any) -> None:
        for row, sequence in enumerate(ids):
            real = slice(width - len(sequence), None) if padding == "left" else slice(len(sequence))
            visit(row, hook.layer(), pattern[row : row + 1, :, real, real])

    with torch.inference_mode():
        student.bridge.run_with_hooks(
            padded,
            attention_mask=mask,
            fwd_hooks=[(pattern_hook(layer), show) for layer in range(config.n_layers)],
            return_type=None,
            logits_to_keep=1,
        )


class _Views:
    """The views of one sequence, layer after layer."""

    def __init__(self, sequence: ProblemSequence, device: Any) -> None:
        length = len(sequence.ids)
        valid = torch.ones(1, length, dtype=torch.bool, device=device)
        self._make = partial(
            PatternView,
            tokens=torch.tensor([sequence.ids], device=device),
            valid_queries=valid,
            valid_keys=valid,
            spans={name: _mask(getattr(sequence, name), valid) for name in ("question", "numbers", "answer")},
            shared={},
        )
        self._below: Tensor | None = None
        self.measured: dict[str, list[Tensor]] = {}

    def layer(self, layer: int, pattern: Tensor) -> PatternView:
        """The next layer's view; it keeps the layer below's pattern alive, and only that."""
        view: PatternView = self._make(pattern=pattern, below=self._below, layer=layer)
        self._below = pattern
        return view


def _mask(places: Sequence[int], like: Tensor) -> Tensor:
    mask = torch.zeros_like(like)
    mask[0, list(places)] = True
    return mask
