"""Tidy tables: one observation a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kdprobe.probing.attention.moved import Comparison
from kdprobe.probing.labels import Head
from kdprobe.probing.metrics.measure import Measured
from kdprobe.stats.bootstrap import Means, means_over_problems

POOLED = "pooled"
"""In the column `problem`: the mean over problems."""


def pooled(measured: Measured, seed: int) -> pd.DataFrame:
    """Columns student, layer, head, metric, problem (always pooled), value, low, high."""
    return pd.concat(
        [
            means(means_over_problems(values, seed), student=student, metric=metric, problem=POOLED)
            for student, metrics in measured.items()
            for metric, values in metrics.items()
        ],
        ignore_index=True,
    )


def by_problem(measured: Measured, problems: Sequence[str]) -> pd.DataFrame:
    """The same columns, a row per problem; a single observation has no interval."""
    return pd.concat(
        [
            means(Means(value, np.full_like(value, np.nan), np.full_like(value, np.nan)), **keys)
            for student, metrics in measured.items()
            for metric, values in metrics.items()
            for problem, value in zip(problems, values, strict=True)
            for keys in [{"student": student, "metric": metric, "problem": problem}]
        ],
        ignore_index=True,
    )


def differences(comparisons: Sequence[Comparison], heads_moved: Mapping[str, Sequence[Head]]) -> pd.DataFrame:
    """Paired differences: student, layer, head, metric, problem, value, low, high, against, p_over_problems, moved.

    Args:
        comparisons: All of them.
        heads_moved: Arm to the heads that moved, by the metric that decides; of other metrics `moved` is missing.
    """
    frames = []
    for comparison in comparisons:
        frame = means(comparison.effect, student=comparison.arm, metric=comparison.metric, problem=POOLED)
        frame["against"] = comparison.against
        frame["p_over_problems"] = comparison.p.ravel()
        key = f"{comparison.arm} {comparison.metric}"
        heads = list(zip(frame["layer"], frame["head"], strict=True))
        frame["moved"] = pd.array(
            [head in heads_moved[key] for head in heads] if key in heads_moved else [None] * len(frame),
            dtype="boolean",
        )
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)


def means(values: Means, *, student: str, metric: str, problem: str) -> pd.DataFrame:
    """One row per layer and head."""
    layer, head = np.indices(values.value.shape)
    return pd.DataFrame(
        {
            "student": student,
            "layer": layer.ravel(),
            "head": head.ravel(),
            "metric": metric,
            "problem": problem,
            "value": values.value.ravel(),
            "low": values.low.ravel(),
            "high": values.high.ravel(),
        }
    )


def write_tables(tables: Mapping[str, pd.DataFrame], folder: Path) -> None:
    """Each table as `NAME.parquet` and `NAME.csv`."""
    for name, table in tables.items():
        table.to_parquet(folder / f"{name}.parquet")
        # Metrics are float32: more digits say nothing.
        table.to_csv(folder / f"{name}.csv", index=False, float_format="%.7g")


def top(values: NDArray[np.float64], heads: Sequence[Head], name: str) -> list[dict[str, Any]]:
    """Heads as JSON shows them."""
    return [{"layer": layer, "head": head, name: float(values[layer, head])} for layer, head in heads]
