"""How far attention patterns that are computed in 16 bits are from float32, with the same weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from torch import Tensor

from kdprobe.errors import KdprobeError
from kdprobe.models.batching import right_padded
from kdprobe.models.forward.float32 import computed_in_float32
from kdprobe.models.reference import Precision
from kdprobe.students.bridge import BridgedStudent

ALLOWED: dict[Precision, float] = {"bfloat16": 0.1, "float16": 0.02}
"""The largest mean share of a query's attention that rounding may move to other keys in any layer that is checked."""


@dataclass(frozen=True)
class LayerRounding:
    """How far rounding moves the patterns of one layer, over its heads and a few sequences.

    Attributes:
        layer: The layer.
        largest: The largest difference of a weight.
        moved: The share of its attention that a query gives to other keys: half the sum of the differences in its row.
            Mean over queries and heads.
    """

    layer: int
    largest: float
    moved: float


def sampled_layers(layers: int) -> list[int]:
    """The first, the middle and the last of a number of layers."""
    return sorted({0, layers // 2, layers - 1})


def layer_roundings(student: BridgedStudent, sequences: Sequence[Sequence[int]]) -> list[LayerRounding]:
    """Compares the student's patterns with those in float32, in the first, the middle and the last layer.

    Args:
        student: The student.
        sequences: Token ids of a few sequences.
    """
    layers = sampled_layers(student.bridge.cfg.n_layers)
    largest, moved = dict.fromkeys(layers, 0.0), dict.fromkeys(layers, 0.0)
    for ids in sequences:
        for layer, rounded, exact in both_precisions(student, ids, layers):
            difference = (rounded - exact).abs()
            largest[layer] = max(largest[layer], float(difference.max()))
            moved[layer] += float(difference.sum(dim=-1).mean()) / 2 / len(sequences)
    return [LayerRounding(layer, largest[layer], moved[layer]) for layer in layers]


def refuse_rough(name: str, roundings: Sequence[LayerRounding], dtype: Precision) -> None:
    """Refuses a student whose patterns rounding changes by more than is usual for the data type.

    Args:
        name: The student.
        roundings: How far rounding moves its patterns.
        dtype: The data type.

    Raises:
        KdprobeError: Rounding changes them more.
    """
    worst = max(roundings, key=lambda rounding: rounding.moved)
    if not worst.moved <= ALLOWED[dtype]:
        raise KdprobeError(
            f"In {dtype}, rounding moves {worst.moved:.1%} of the attention in layer {worst.layer} of {name!r} to "
            f"other keys (at most {ALLOWED[dtype]:.0%} is allowed).",
            "Use float32.",
        )


def both_precisions(
    student: BridgedStudent, ids: Sequence[int], layers: Sequence[int]
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Layers with their patterns on a sequence as the student computes them, and in float32: `[head, query, key]`."""
    rounded = _patterns(student, ids, layers)
    with in_float32(student):
        exact = _patterns(student, ids, layers)
    for layer in layers:
        yield layer, rounded[layer], exact[layer]


def in_float32(student: BridgedStudent) -> AbstractContextManager[None]:
    """While the context is open, the student computes in float32 with its own weights."""
    twins = student.take()
    return computed_in_float32(twins.model, twins.bridge.original_model)


def _patterns(student: BridgedStudent, ids: Sequence[int], layers: Sequence[int]) -> dict[int, Tensor]:
    kept: dict[int, Tensor] = {}

    def keep(layer: int, pattern: Tensor) -> None:
        if layer in layers:
            kept[layer] = pattern[0].clone()

    student.show(*right_padded([ids], student.tokenizer.pad_token_id, student.bridge.cfg.device), keep)
    return kept
