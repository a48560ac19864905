"""Measures every head of every student or file with every applicable metric."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kdprobe.console import progress
from kdprobe.errors import UsageError
from kdprobe.probing.analysis import AnalysisContext
from kdprobe.probing.metrics.metric import HeadMetric
from kdprobe.probing.patterns.files import PatternFile
from kdprobe.probing.patterns.prompts import PromptPatterns
from kdprobe.stats.bootstrap import known_mean

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kdprobe.students.bridge import BridgedStudent
    from kdprobe.students.sequence import ProblemSequence
    from kdprobe.students.student import Student

Measured = dict[str, dict[str, NDArray[np.float64]]]
"""Student or file mapped to metric mapped to values `[problem, layer, head]`."""
LEARNED_SINK = "learned_sink"
"""The head metric that does not apply to most models."""


def measure(context: AnalysisContext, metrics: Mapping[str, HeadMetric] | None = None) -> Measured:
    """Measures all pattern files and all students of a context, in this order.

    Args:
        context: Files, or students and problems.
        metrics: By default all metrics of the context. `learned_sink` is skipped if no model has such a sink.

    Raises:
        UsageError: The students' tokenizers differ.
        KdprobeError: A student failed its self-check.
    """
    metrics = context.head_metrics if metrics is None else metrics
    offered = frozenset.intersection(*(file.offers for file in context.patterns)) if context.patterns else frozenset()
    shared = {name: metric for name, metric in metrics.items() if metric.needs <= offered}
    measured = {file.name: measure_file(file, shared) for file in context.patterns}
    if context.students and context.problems:
        for student in context.students:
            measured[student.name] = _measure_student(context, student, metrics)
    if not any(values[LEARNED_SINK].any() for values in measured.values() if LEARNED_SINK in values):
        return {name: _without(values, LEARNED_SINK) for name, values in measured.items()}
    return measured


def sink_shares(measured: Measured) -> dict[str, float]:
    """The share of their attention that students give to learned sinks, if any does."""
    shares = {name: values[LEARNED_SINK] for name, values in measured.items() if LEARNED_SINK in values}
    return {name: float(np.nanmean(share)) for name, share in shares.items()}


def require(measured: Measured, metric: str) -> None:
    """Raises an error if a metric was skipped.

    Raises:
        UsageError: The metric was skipped.
    """
    if not all(metric in values for values in measured.values()):
        raise UsageError(f"None of these models has anything for {metric!r} to measure.", "Choose another head metric.")


def _without(values: dict[str, NDArray[np.float64]], metric: str) -> dict[str, NDArray[np.float64]]:
    return {name: value for name, value in values.items() if name != metric}


def _measure_student(
    context: AnalysisContext, student: Student, metrics: Mapping[str, HeadMetric]
) -> dict[str, NDArray[np.float64]]:
    """Values `[problem, layer, head]` by metric; reused if an analysis of this run already measured them."""
    key = ("head metrics", student, tuple(context.problems), context.batch_size, context.dtype)
    all_metrics_key = (*key, tuple(context.head_metrics.values()))
    if all_metrics_key in context.pool:
        values: dict[str, NDArray[np.float64]] = context.pool.once(all_metrics_key, dict)
        if metrics.keys() <= values.keys():
            return {name: values[name] for name in metrics}

    def make() -> dict[str, NDArray[np.float64]]:
        bridged = context.bridges.boot(student.name)
        return measure_student(bridged, context.sequences, metrics, batch_size=context.batch_size)

    return context.pool.once((*key, tuple(metrics.values())), make)


def measure_student(
    student: BridgedStudent,
    sequences: Sequence[ProblemSequence],
    metrics: Mapping[str, HeadMetric],
    *,
    batch_size: int,
) -> dict[str, NDArray[np.float64]]:
    """Measures every head of a student on every sequence.

    Args:
        student: A student in TransformerLens.
        sequences: What it reads.
        metrics: Name to metric.
        batch_size: Sequences per batch.

    Returns:
        Metric to values `[problem, layer, head]`.
    """
    from kdprobe.probing.patterns.stream import head_metrics

    with progress(f"Heads of {student.name}", len(sequences), unit="tok") as bar:
        return head_metrics(student, sequences, metrics, batch_size=batch_size, bar=bar)


def measure_file(file: PatternFile, metrics: Mapping[str, HeadMetric]) -> dict[str, NDArray[np.float64]]:
    """Measures patterns from a file with the metrics that need nothing it lacks.

    Rows are first divided by their sums, as published; only the published similarity uses the patterns as dumped.

    Returns:
        Metric to values `[prompt, layer, head]`.
    """
    applicable = {name: metric for name, metric in metrics.items() if metric.needs <= file.offers}
    by_prompt = [_measure_prompt(prompt, applicable) for prompt in file.prompts]
    return {name: np.stack([values[name] for values in by_prompt]) for name in applicable}


def _measure_prompt(prompt: PromptPatterns, metrics: Mapping[str, HeadMetric]) -> dict[str, NDArray[np.float64]]:
    """Values `[layer, head]` by metric."""
    import torch

    from kdprobe.probing.patterns.view import PatternView

    layers, heads, length, _ = prompt.pattern.shape
    valid = torch.ones(1, length, dtype=torch.bool)
    tokens = None if prompt.tokens is None else torch.from_numpy(prompt.tokens)[None]
    shared: dict[str, object] = {}
    values = {name: np.full((layers, heads), np.nan) for name in metrics}
    below = None
    for layer, array in enumerate(prompt.pattern):
        dumped = torch.from_numpy(array)[None]
        divided = dumped / dumped.sum(dim=-1, keepdim=True)
        view = PatternView(divided, below, tokens, valid, valid, {}, layer, dumped=dumped, shared=shared)
        for name, metric in metrics.items():
            values[name][layer] = metric.measure(view).double().numpy()[0]
        below = dumped
    return values


def per_layer(values: Mapping[str, NDArray[np.float64]]) -> dict[str, list[float]]:
    """Each metric's mean over problems and heads by layer; metrics without a value in layer 0 start at layer 1."""
    means = {name: known_mean(value, (0, 2)) for name, value in values.items()}
    return {name: mean[np.isnan(mean[0]).astype(int) :].tolist() for name, mean in means.items()}
