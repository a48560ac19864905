"""The analysis `divergence`: how far the attention of students diverges, head by head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kdprobe.console import progress
from kdprobe.errors import KdprobeError
from kdprobe.probing import tables
from kdprobe.probing.analysis import AnalysisContext, AnalysisResult
from kdprobe.probing.attention.moved import ranked
from kdprobe.probing.attention.rounded import divergence_rounding, rounding_sentences
from kdprobe.probing.attention.threshold import Threshold, movement_threshold
from kdprobe.probing.figures import head_map
from kdprobe.probing.labels import Head, head_label
from kdprobe.probing.options import DivergenceOptions
from kdprobe.probing.patterns.pairwise import Divergences, files_side_by_side, students_side_by_side
from kdprobe.probing.patterns.real_keys import sink_sentences
from kdprobe.stats.bootstrap import Means, means_over_problems
from kdprobe.students.replicates import Replicate, by_arm

TOP = 10
"""As published."""
_NAMED = 3


@dataclass(frozen=True)
class ArmDivergences:
    """How far the attention of arms diverges, over all problems.

    Attributes:
        variance: Population variance over all students, mean over cells, `[layer, head]`.
        distances: Each arm's mean Jensen-Shannon divergence from the first student, `[layer, head]`, in nats.
        threshold: The divergence at which a head counts as moved.
    """

    variance: Means
    distances: dict[str, Means]
    threshold: Threshold


class DivergenceAnalysis:
    """The published variance over all students, and each one's Jensen-Shannon divergence from the first."""

    def __init__(self, options: DivergenceOptions) -> None:
        self.options = options

    def run(self, context: AnalysisContext) -> AnalysisResult:
        """Compares all files, or all students.

        Raises:
            KdprobeError: There is only one, or their layers, heads or tokens differ.
        """
        compared: Sequence[Replicate] = context.patterns or context.students
        names = [replicate.name for replicate in compared]
        if len(names) < 2:  # noqa: PLR2004
            raise KdprobeError(f"Divergence needs two students, but there is only {names[0]!r}.", "Add another one.")
        divergences = _divergences(context)
        rounding = 0.0 if context.patterns or context.dtype == "float32" else divergence_rounding(context)
        averaged = arm_divergences(
            divergences, compared, self.options.smallest_effect, context.seed, rounding, context.dtype
        )
        variance, distances, threshold = averaged.variance, averaged.distances, averaged.threshold
        leading = ranked(variance.value)[:TOP]
        return AnalysisResult(
            tables={
                "divergence": tables.means(variance, student=" ".join(names), metric="variance", problem=tables.POOLED),
                "jensen_shannon": _table(distances, names[0], threshold),
            },
            figures=[
                head_map("Variance of attention between students, by head", variance.value, "variance"),
                *(
                    head_map(f"Jensen-Shannon divergence by head: {arm} and {names[0]}", distance.value, "nats")
                    for arm, distance in distances.items()
                ),
            ],
            statements=[
                _variance_sentence(variance.value, leading, len(names)),
                f'"Moved" means that a head\'s Jensen-Shannon divergence per query is {threshold.sentence("nats")}.',
                *(_distance_sentence(arm, names[0], distance, threshold) for arm, distance in distances.items()),
                *sink_sentences(divergences.sinks, "variances and divergences compare"),
                *(
                    rounding_sentences(
                        {arm: distance.value for arm, distance in distances.items()},
                        rounding,
                        context.dtype,
                        "nats",
                        "attention",
                    )
                    if rounding
                    else []
                ),
            ],
            summary={
                "top": tables.top(variance.value, leading, "variance"),
                "threshold": {"metric": "jensen_shannon", "value": threshold.value, "stated": threshold.stated},
                "jensen_shannon": {
                    arm: tables.top(distance.value, ranked(distance.value)[:TOP], "nats")
                    for arm, distance in distances.items()
                },
            },
        )


def build(options: DivergenceOptions) -> DivergenceAnalysis:
    """The analysis."""
    return DivergenceAnalysis(options)


def arm_divergences(  # noqa: PLR0917
    divergences: Divergences,
    compared: Sequence[Replicate],
    smallest_effect: float,
    seed: int,
    rounding: float = 0.0,
    dtype: str = "float32",
) -> ArmDivergences:
    """Averages over problems and over the students of an arm.

    Args:
        divergences: From `students_side_by_side` or `files_side_by_side`.
        compared: The students or files in the same order, with their arms.
        smallest_effect: The smallest divergence of interest, in nats.
        seed: Of the bootstrap.
        rounding: What rounding may add to a divergence, in nats.
        dtype: The data type of the students.
    """
    distances = {arm: means_over_problems(values, seed) for arm, values in _arms(divergences, compared)}
    grouped = by_arm(compared)
    replicates = [
        means_over_problems(values).value
        for pair, values in divergences.jensen_shannon.items()
        if any(set(pair) <= set(members) for members in grouped.values())
    ]
    return ArmDivergences(
        means_over_problems(divergences.variance, seed),
        distances,
        movement_threshold(replicates, smallest_effect, rounding, dtype),
    )


def _divergences(context: AnalysisContext) -> Divergences:
    if context.patterns:
        first = context.patterns[0]
        for file in context.patterns[1:]:
            if not file.reads_like(first):
                raise KdprobeError(
                    f"The patterns {file.name!r} and {first.name!r} differ in their layers, heads, prompts or tokens.",
                    "Divergence compares identical layers and heads on identical tokens.",
                )
        return files_side_by_side(context.patterns)
    _refuse_different_heads(context)
    with progress("Students side by side", len(context.sequences), unit="tok") as bar:
        return students_side_by_side(
            context.bridges, context.students, context.sequences, batch_size=context.batch_size, bar=bar
        )


def _refuse_different_heads(context: AnalysisContext) -> None:
    shapes = {}
    for student in context.students:
        config = context.bridges.boot(student.name).bridge.cfg
        shapes[student.name] = (config.n_layers, config.n_heads)
    if len(set(shapes.values())) > 1:
        sizes = ", ".join(f"{name} {layers} x {heads}" for name, (layers, heads) in shapes.items())
        raise KdprobeError(
            f"The students differ in their number of layers or heads ({sizes}).",
            "Divergence needs students with the same layers and heads.",
        )


def _arms(divergences: Divergences, compared: Sequence[Replicate]) -> list[tuple[str, NDArray[np.float64]]]:
    """Each arm's mean divergence from the first student, `[problem, layer, head]`."""
    first, *others = compared
    return [
        (arm, np.mean([divergences.jensen_shannon[name, first.name] for name in members], axis=0))
        for arm, members in by_arm(others).items()
    ]


def _table(distances: Mapping[str, Means], against: str, threshold: Threshold) -> pd.DataFrame:
    frames: list[Any] = []
    for arm, distance in distances.items():
        frame = tables.means(distance, student=arm, metric="jensen_shannon", problem=tables.POOLED)
        frames.append(frame.assign(against=against, moved=distance.value.ravel() >= threshold.value))
    table: pd.DataFrame = pd.concat(frames, ignore_index=True)
    return table


def _variance_sentence(variance: NDArray[np.float64], leading: Sequence[Head], students: int) -> str:
    heads = "; ".join(f"{head_label(*head)} ({variance[head]:.2g})" for head in leading[:_NAMED])
    return (
        f"Across the {students} students, attention varies most in {heads}. The numbers are population variances of "
        "attention weights, averaged over queries and keys."
    )


def _distance_sentence(arm: str, against: str, distance: Means, threshold: Threshold) -> str:
    order = ranked(distance.value)
    moved = [head for head in order if distance.value[head] >= threshold.value and distance.value[head] > 0]
    listed = "; ".join(
        f"{head_label(*head)} ({distance.value[head]:.3g} nats)" for head in (moved or order[:1])[:_NAMED]
    )
    if not moved:
        return f"{arm} and {against}: no head moved. The largest divergence is in {listed}."
    most = ", most of all " if len(moved) > _NAMED else ": "
    return f"{arm} and {against}: {len(moved)} of {distance.value.size} heads moved{most}{listed}."
