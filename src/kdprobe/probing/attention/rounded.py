"""How far rounding to 16 bits moves what is measured of heads, in the unit of each measure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from kdprobe.console import progress
from kdprobe.probing.analysis import AnalysisContext
from kdprobe.probing.metrics.metric import HeadMetric
from kdprobe.probing.patterns.pairwise import jensen_shannon
from kdprobe.probing.precision import CHECKED
from kdprobe.stats.bootstrap import known_mean


def metric_rounding(context: AnalysisContext, metrics: Mapping[str, HeadMetric]) -> dict[str, float]:
    """The most that rounding may change in the difference between two students, in any head, for every metric.

    The first problems are measured in both precisions. The largest change of a head's mean is added for the two
    students: the first one, and the one with the largest.

    Args:
        context: Students in 16 bits.
        metrics: The metrics.
    """
    from kdprobe.probing.patterns.stream import head_metrics
    from kdprobe.students.rounding import in_float32

    sequences = context.sequences[:CHECKED]
    by_student: list[dict[str, float]] = []
    for student in context.students:
        booted = context.bridges.boot(student.name)
        with progress(f"Rounding of {student.name}", 2 * len(sequences), unit="tok") as bar:
            rounded = head_metrics(booted, sequences, metrics, batch_size=1, bar=bar)
            with in_float32(booted):
                exact = head_metrics(booted, sequences, metrics, batch_size=1, bar=bar)
        by_student.append({name: _largest(known_mean(rounded[name] - exact[name], 0)) for name in metrics})
    return {name: _of_pair([values[name] for values in by_student]) for name in metrics}


def divergence_rounding(context: AnalysisContext) -> float:
    """The most that rounding alone may add to the Jensen-Shannon divergence between two students, in any head.

    In the first, the middle and the last layer, each student's patterns are compared with its own in float32. The
    square roots of these divergences, which are distances, add up.

    Args:
        context: Students in 16 bits.
    """
    from kdprobe.students.rounding import both_precisions, sampled_layers

    sequences = context.sequences[:CHECKED]
    by_student = []
    for student in context.students:
        booted = context.bridges.boot(student.name)
        layers = sampled_layers(booted.bridge.cfg.n_layers)
        found = [
            jensen_shannon(rounded, exact).cpu().numpy()
            for sequence in sequences
            for _, rounded, exact in both_precisions(booted, sequence.ids, layers)
        ]
        means = np.reshape(found, (len(sequences), len(layers), -1)).mean(axis=0)
        by_student.append(float(np.sqrt(means.max())))
    return _of_pair(by_student) ** 2


def rounding_sentences(
    differences: Mapping[str, np.ndarray], rounding: float, dtype: str, unit: str, what: str
) -> list[str]:
    """Says for each arm how many heads changed less than rounding may change them.

    Args:
        differences: Each arm's differences from the first student, `[layer, head]`.
        rounding: The most that rounding may change.
        dtype: The data type of the students.
        unit: The unit of both, or nothing.
        what: What differs, such as `entropy`.
    """
    spaced = f" {unit}" if unit else ""
    sentences = []
    for arm, difference in differences.items():
        small = int((np.abs(difference) <= rounding).sum())
        if small:
            sentences.append(
                f"{arm}: in {small} of {difference.size} heads, the difference in {what} is at most {rounding:.2g}"
                f"{spaced}, which rounding to {dtype} alone could cause."
            )
    return sentences


def _of_pair(by_student: Sequence[float]) -> float:
    first, *others = by_student
    return first + max(others, default=0.0)


def _largest(values: np.ndarray) -> float:
    return float(np.nanmax(np.abs(values), initial=0.0))
