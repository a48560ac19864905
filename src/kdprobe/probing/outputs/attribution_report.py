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
        name: The student's name.
        values: `[problem, layer, head, target]`, in units of logits.
        sequences: The sequences that were read.
        seed: Seed of the bootstrap.
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


def bias_table(biases: Mapping[str, Array]) -> pd.DataFrame:
    """One row per student, layer and target: what the bias of the output projection writes, mean over problems.

    Args:
        biases: For each student, `[problem, layer, target]`, in units of logits.
    """
    rows = [
        (name, layer, f"logit_gold_{metric}", float(value))
        for name, values in biases.items()
        for target, metric in enumerate(TARGETS)
        for layer, value in enumerate(values[..., target].mean(axis=0))
    ]
    return pd.DataFrame(rows, columns=["student", "layer", "metric", "value"])


def attribution_statements(
    attributions: Mapping[str, Array], biases: Mapping[str, Array], capped: Sequence[str], seed: int
) -> list[str]:
    """For each student, the heads that write most in either direction, and the part that belongs to no head.

    Args:
        attributions: For each student, `[problem, layer, head, target]`, in units of logits.
        biases: The same for biases of output projections, `[problem, layer, target]`, for students that have them.
        capped: The students that cap their logits.
        seed: Seed of the bootstrap.
    """
    sentences = []
    for name, values in attributions.items():
        pooled = means_over_problems(values[..., 0], seed)
        heads = []
        for head in ranked(np.abs(pooled.value))[:_NAMED]:
            low, high = pooled.low[head], pooled.high[head]
            interval = f", {low:+.2f} to {high:+.2f}" if np.isfinite(low) else ""
            heads.append(f"{head_label(*head)} ({pooled.value[head]:+.2f}{interval})")
        sentences.append(
            f"{name}: the heads with the largest direct contributions to the logits of the gold solution's tokens, "
            f"averaged over these tokens, are {'; '.join(heads)}. Effects through later layers are not counted."
        )
        if name in biases:
            total = biases[name][..., 0].mean(axis=0).sum()
            sentences.append(
                f"{name}: the biases of attention's output projections, which belong to no head, together contribute "
                f"{total:+.2f} to these logits on average."
            )
        if name in capped:
            sentences.append(f"{name}: the model soft-caps its logits; contributions are to the logits before the cap.")
    return sentences
