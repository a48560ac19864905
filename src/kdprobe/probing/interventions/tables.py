"""Tidy tables of effects: student, layer, head, metric, problem, value, low, high, as in all analyses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd

from kdprobe.probing.interventions.forward import TARGETS
from kdprobe.probing.interventions.sweep import Array, Sweep
from kdprobe.probing.labels import Head
from kdprobe.probing.selection import Selection
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
    """Effects of sets of heads, means over `problems` problems.

    The set `random` repeats for every set that it is compared with (`compared_with`), because top heads are measured on
    fewer problems; `number` counts the random sets.
    """
    rows = []
    top = len(sweep.sets["top"])
    for kind, heads in sweep.sets.items():
        chosen, random = sweep.compared(kind)
        compared = [("random", kind, index + 1, top, random[:, index]) for index in range(random.shape[1])]
        for name, against, number, size, values in [
            (kind, "", 0, len(heads), chosen),
            *(compared if kind != "every" else []),
        ]:
            means = means_over_problems(values, seed)
            for target, measured in enumerate(TARGETS):
                row = (student, name, against, number, size, len(values), f"log_p_gold_{measured}", POOLED)
                rows.append((*row, means.value[target], means.low[target], means.high[target]))
    columns = ["student", "set", "compared_with", "number", "heads", "problems", "metric", "problem"]
    return pd.DataFrame(rows, columns=[*columns, "value", "low", "high"])


def selection_table(student: str, selection: Selection) -> pd.DataFrame:
    """How stable the selection is.

    `folds` counts the folds, of `of_folds`, whose other problems select a head; `resamples` is the share of resamples
    of the problems that do.
    """
    counts = Counter(head for heads in selection.without for head in heads)
    chosen = set(counts) | {(int(layer), int(head)) for layer, head in np.argwhere(selection.resamples > 0)}
    rows = [(student, *head, counts[head], len(selection.without), float(selection.resamples[head])) for head in chosen]
    rows.sort(key=lambda row: (-row[5], row[1:3]))
    return pd.DataFrame(rows, columns=["student", "layer", "head", "folds", "of_folds", "resamples"])
