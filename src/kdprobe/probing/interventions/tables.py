"""Tidy tables of effects: student, layer, head, metric, problem, value, low, high, as those of all analyses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from kdprobe.probing.interventions.exact_effects import Head
from kdprobe.probing.interventions.forward import TARGETS
from kdprobe.probing.interventions.sweep import Array, Sweep
from kdprobe.probing.tables import POOLED
from kdprobe.stats.bootstrap import means_over_problems
from kdprobe.students.sequence import ProblemSequence


def effect_table(student: str, swept: Sweep, sequences: Sequence[ProblemSequence], seed: int) -> pd.DataFrame:
    """Effects of single heads; `metric` says on which log-probability, `method` says `gradient` or `exact`."""
    layers, heads = swept.screened.shape[1:3]
    everywhere = [(layer, head) for layer in range(layers) for head in range(heads)]
    parts = [("gradient", everywhere, swept.screened.reshape(len(sequences), len(everywhere), -1))]
    parts.append(("exact", swept.heads, swept.exact))
    frames = [_long(places, values, sequences, seed).assign(method=method) for method, places, values in parts]
    table = pd.concat(frames, ignore_index=True)
    table.insert(0, "student", student)
    return table


def _long(heads: Sequence[Head], values: Array, sequences: Sequence[ProblemSequence], seed: int) -> pd.DataFrame:
    """A row per head, target and problem, and one over all problems; `values` are `[problem, head, target]`."""
    means = means_over_problems(values, seed)
    nothing = np.full_like(values[0], np.nan)
    blocks = [(POOLED, means.value, means.low, means.high)]
    blocks += [(one.id, value, nothing, nothing) for one, value in zip(sequences, values, strict=True)]
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


def set_table(student: str, swept: Sweep, seed: int) -> pd.DataFrame:
    """Effects of sets of heads over all problems; `number` counts the random ones."""
    rows = []
    named = [(kind, 0, len(heads), swept.together[kind]) for kind, heads in swept.sets.items()]
    size = len(swept.sets["top"])
    random = [("random", number + 1, size, swept.random[:, number]) for number in range(swept.random.shape[1])]
    for kind, number, size, values in [*named, *random]:
        means = means_over_problems(values, seed)
        for target, name in enumerate(TARGETS):
            interval = (means.value[target], means.low[target], means.high[target])
            rows.append((student, kind, number, size, f"log_p_gold_{name}", POOLED, *interval))
    columns = ["student", "set", "number", "heads", "metric", "problem", "value", "low", "high"]
    return pd.DataFrame(rows, columns=columns)
