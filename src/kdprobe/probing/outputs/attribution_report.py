"""What logit attribution found, as a table and in sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from kdprobe.probing.attention.moved import ranked
from kdprobe.probing.interventions.forward import TARGETS
from kdprobe.probing.interventions.sweep import Array
from kdprobe.probing.labels import head_label
from kdprobe.probing.tables import POOLED, means
from kdprobe.stats.bootstrap import Means, means_over_problems
from kdprobe.students.sequence import ProblemSequence

_NAMED = 3


def attribution_table(name: str, values: Array, sequences: Sequence[ProblemSequence], seed: int) -> pd.DataFrame:
    """One row per head, target and problem, and over all problems.

    Args:
        name: The student's.
        values: `[problem, layer, head, target]`, in units of logits.
        sequences: What was read.
        seed: Of the bootstrap.
    """
    frames = []
    for target, metric in enumerate(TARGETS):
        pooled = means_over_problems(values[..., target], seed)
        frames.append(means(pooled, student=name, metric=f"logit_gold_{metric}", problem=POOLED))
        missing = np.full(values.shape[1:3], np.nan)
        frames += [
            means(
                Means(value[..., target], missing, missing),
                student=name,
                metric=f"logit_gold_{metric}",
                problem=sequence.id,
            )
            for sequence, value in zip(sequences, values, strict=True)
        ]
    return pd.concat(frames, ignore_index=True)


def attribution_statements(attributions: Mapping[str, Array], seed: int) -> list[str]:
    """Per student the heads that write most, in either direction."""
    sentences = []
    for name, values in attributions.items():
        pooled = means_over_problems(values[..., 0], seed)
        heads = []
        for head in ranked(np.abs(pooled.value))[:_NAMED]:
            low, high = pooled.low[head], pooled.high[head]
            interval = f", {low:+.2f} to {high:+.2f}" if np.isfinite(low) else ""
            heads.append(f"{head_label(*head)} ({pooled.value[head]:+.2f}{interval})")
        sentences.append(
            f"{name}: the heads that write most into the logits of the gold solution's tokens themselves are "
            f"{'; '.join(heads)}, in the mean over tokens. What later layers make of heads is not counted."
        )
    return sentences
