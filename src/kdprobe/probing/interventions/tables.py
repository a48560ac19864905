"""Tidy tables of effects: student, layer, head, metric, problem, value, low, high, as in all analyses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from kdprobe.probing.interventions.forward import TARGETS
from kdprobe.probing.interventions.sweep import Array, Sweep
from kdprobe.probing.labels import Head
from kdprobe.probing.tables import POOLED
from kdprobe.stats.bootstrap import means_over_problems
from kdprobe.students.sequence import ProblemSequence


def joined(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Concatenates tables with the same columns."""
    table: pd.DataFrame = pd.concat(frames, ignore_index=True)
    return table


def effect_table(student: str, sweep: Sweep, sequences: Sequence[ProblemSequence], seed: int) -> pd.DataFrame:
    """Effects of single heads; `metric` names the log-probability, `method` is `gradient` or `exact`."""
    layers, heads = sweep.screened.shape[1:3]
    all_heads = [(layer, head) for layer in range(layers) for head in range(heads)]
    screened = _long(all_heads, sweep.screened.reshape(len(sequences), len(all_heads), -1), sequences, seed)
    exact = _long(sweep.heads, sweep.exact, sequences, seed)
    table = joined([screened.assign(method="gradient"), exact.assign(method="exact")])
    table.insert(0, "student", student)
    return table


def _long(heads: Sequence[Head], values: Array, sequences: Sequence[ProblemSequence], seed: int) -> pd.DataFrame:
    """One row per head, target and problem, and one over all problems; `values` is `[problem, head, target]`."""
    means = means_over_problems(values, seed)
    missing = np.full_like(values[0], np.nan)
    blocks = [(POOLED, means.value, means.low, means.high)]
    blocks += [(sequence.id, value, missing, missing) for sequence, value in zip(sequences, values, strict=True)]
    layer, head = np.array(heads, dtype=int).reshape(-1, 2).T
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "layer": layer,
                    "head": head,
                    "metric": f"log_p_gold_{name}",
                    "problem": problem,
                    "value": value[:, target],
                    "low": low[:, target],
                    "high": high[:, target],
                }
            )
            for problem, value, low, high in blocks
            for target, name in enumerate(TARGETS)
        ],
        ignore_index=True,
    )


def set_table(student: str, sweep: Sweep, seed: int) -> pd.DataFrame:
    """Effects of sets of heads over all problems; `number` counts the random sets."""
    rows = []
    chosen = [(kind, 0, len(heads), sweep.together[kind]) for kind, heads in sweep.sets.items()]
    top = len(sweep.sets["top"])
    random = [("random", index + 1, top, sweep.random[:, index]) for index in range(sweep.random.shape[1])]
    for kind, index, size, values in [*chosen, *random]:
        means = means_over_problems(values, seed)
        for target, name in enumerate(TARGETS):
            interval = (means.value[target], means.low[target], means.high[target])
            rows.append((student, kind, index, size, f"log_p_gold_{name}", POOLED, *interval))
    columns = ["student", "set", "number", "heads", "metric", "problem", "value", "low", "high"]
    return pd.DataFrame(rows, columns=columns)
