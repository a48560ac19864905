"""Streaming head metrics: patterns are reduced in hooks as they appear, and no pattern outlives the next layer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kdprobe.console import Progress
from kdprobe.models.batching import right_padded
from kdprobe.probing.metrics import PatternView
from kdprobe.students.bridge import BridgedStudent, pattern_hook


def head_metrics(
    student: BridgedStudent,
    sequences: Sequence[Sequence[int]],
    metrics: Mapping[str, Callable[[PatternView], Tensor]],
    *,
    batch_size: int,
    bar: Progress,
) -> dict[str, NDArray[np.float64]]:
    """Measures every head on every sequence.

    Args:
        student: Inside TransformerLens.
        sequences: Token ids; batches are made of sequences of like length.
        metrics: Name to metric.
        batch_size: Sequences at once.
        bar: Advanced by one per sequence.

    Returns:
        Metric to values `[sequence, layer, head]`, in the order of `sequences`.
    """
    config = student.bridge.cfg
    shape = (len(sequences), config.n_layers, config.n_heads)
    values = {name: np.full(shape, np.nan) for name in metrics}
    order = sorted(range(len(sequences)), key=lambda place: len(sequences[place]))
    for start in range(0, len(order), batch_size):
        places = order[start : start + batch_size]
        ids, mask = right_padded([sequences[place] for place in places], student.tokenizer.pad_token_id, config.device)
        below: list[Tensor] = []

        def reduce(pattern: Tensor, hook: Any, *, below: list[Tensor], valid: Tensor, places: list[int]) -> None:
            layer = hook.layer()
            view = PatternView(pattern, below.pop() if below else None, valid, layer)
            for name, metric in metrics.items():
                values[name][places, layer] = metric(view).double().cpu().numpy()
            below.append(pattern)

        hook = partial(reduce, below=below, valid=mask.bool(), places=places)
        with torch.inference_mode():
            student.bridge.run_with_hooks(
                ids,
                attention_mask=mask,
                fwd_hooks=[(pattern_hook(layer), hook) for layer in range(config.n_layers)],
                return_type=None,
                logits_to_keep=1,
            )
        bar.advance(len(places), work=int(mask.sum()))
    return values
