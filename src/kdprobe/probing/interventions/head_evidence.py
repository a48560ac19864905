"""One table of what is known of every head of a trained student: weights that moved, attention that moved, and effect.

Whether they go together is reported as an association over heads: a head that moved much need not matter, and the other
way round.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from kdprobe.console import progress
from kdprobe.errors import KdprobeError
from kdprobe.probing.analysis import Figure
from kdprobe.probing.figures import change_against_effect
from kdprobe.probing.interventions.sweep import Array, Sweep
from kdprobe.probing.patterns.pairwise import students_side_by_side
from kdprobe.probing.weights.geometry import CIRCUITS, circuit_changes
from kdprobe.stats.rank_correlation import spearman
from kdprobe.students.bridges import Bridges
from kdprobe.students.pool import StudentPool
from kdprobe.students.sequence import ProblemSequence
from kdprobe.students.student import Student

CHANGES = {"qk": "change of the QK circuit", "ov": "change of the OV circuit", "pattern": "change of attention"}
_KEYS = ["student", "layer", "head"]


@dataclass(frozen=True)
class Evidence:
    """What is known of the heads of trained students.

    Attributes:
        table: One row per student, layer and head: `qk` and `ov`, relative changes of the circuits; `pattern`,
            Jensen-Shannon divergence of the attention from the first student's, in nats; `ablation_gradient` and
            `ablation_exact`, effects on log p(gold solution), in nats, the latter where it was run. What an
            architecture cannot give is missing.
        correlations: One row per student and change: Spearman's correlation with the size of the effect.
        figures: Change of attention against effect.
        statements: The correlations in words, and why a change is missing.
    """

    table: pd.DataFrame
    correlations: pd.DataFrame
    figures: list[Figure]
    statements: list[str]


def head_evidence(
    first: Student,
    students: Sequence[Student],
    patterns: Mapping[str, Array] | KdprobeError,
    sweeps: Mapping[str, Sweep],
    pool: StudentPool | None = None,
) -> Evidence:
    """Puts changes next to effects, for the students that are not the first.

    Args:
        first: The student that the others are compared with.
        students: Those that were ablated.
        patterns: Trained student to `pattern_changes`, or why there are none.
        sweeps: Student to what ablation did.
        pool: Where students are loaded.
    """
    trained = [student for student in students if student.name != first.name]
    table = pd.DataFrame(columns=[*_KEYS, *CHANGES, "ablation_gradient", "ablation_exact"])
    reasons = []
    if isinstance(patterns, KdprobeError):
        reasons.append(f"How attention changed is missing. {patterns.message}")
        patterns = {}
    if trained:
        try:
            circuits = circuit_changes([first, *trained], pool).table
        except KdprobeError as error:
            reasons.append(f"How circuits changed is missing. {error.message}")
            circuits = pd.DataFrame(columns=[*_KEYS, "circuit", "relative"])
        rows = [_rows(student.name, circuits, patterns.get(student.name), sweeps[student.name]) for student in trained]
        table = pd.concat(rows, ignore_index=True)
    correlations = _correlations(table)
    figures = _figures(table[table["student"].isin(patterns)])
    return Evidence(table, correlations, figures, [*reasons, *_statements(correlations)])


def pattern_changes(
    bridges: Bridges,
    first: Student,
    students: Sequence[Student],
    sequences: Sequence[ProblemSequence],
    *,
    batch_size: int,
) -> dict[str, Array]:
    """Student to the divergence of its attention from the first student's, `[layer, head]`, in nats.

    The first student itself is left out.

    Args:
        bridges: Where students are inside TransformerLens.
        first: The student that the others are compared with.
        students: Which students; the first may be one of them.
        sequences: What they read.
        batch_size: Sequences at once.

    Raises:
        KdprobeError: A student has other layers and heads than the first.
    """
    trained = [student for student in students if student.name != first.name]
    if not trained:
        return {}
    configs = [bridges.boot(student.name).bridge.cfg for student in [first, *trained]]
    if len({(config.n_layers, config.n_heads) for config in configs}) > 1:
        raise KdprobeError(
            f"The students have other layers and heads than {first.name!r}, whom they are compared with.",
            "Look at one of them at a time.",
        )
    with progress("Attention side by side", len(sequences), unit="tok") as bar:
        divergences = students_side_by_side(bridges, [first, *trained], sequences, batch_size=batch_size, bar=bar)
    return {student.name: divergences.jensen_shannon[student.name, first.name].mean(axis=0) for student in trained}


def _rows(student: str, circuits: pd.DataFrame, pattern: Array | None, sweep: Sweep) -> pd.DataFrame:
    shape = sweep.screened.shape[1:3]
    exact = np.full(shape, np.nan)
    for (layer, head), effect in zip(sweep.heads, sweep.exact[..., 0].mean(axis=0), strict=True):
        exact[layer, head] = effect
    layers, heads = np.indices(shape)
    rows = pd.DataFrame({"student": student, "layer": layers.ravel(), "head": heads.ravel()})
    own = circuits[circuits["student"] == student]
    for circuit in CIRCUITS:
        relative = own[own["circuit"] == circuit].set_index(["layer", "head"])["relative"]
        rows[circuit] = relative.reindex(list(zip(rows["layer"], rows["head"], strict=True))).to_numpy(float)
    rows["pattern"] = np.nan if pattern is None else pattern.ravel()
    rows["ablation_gradient"] = sweep.screened[..., 0].mean(axis=0).ravel()
    rows["ablation_exact"] = exact.ravel()
    return rows


def _correlations(table: pd.DataFrame) -> pd.DataFrame:
    """Changes against the size of the effect to first order, which every head has."""
    correlations = []
    for student, rows in table.groupby("student", sort=False):
        for change in CHANGES:
            both = rows[[change, "ablation_gradient"]].dropna()
            # Heads that all changed alike, or not at all, have no order.
            if len(both) > 3 and both[change].nunique() > 1:  # noqa: PLR2004 - the interval's degrees of freedom
                correlation, interval = spearman(both[change].to_numpy(), both["ablation_gradient"].abs().to_numpy())
                correlations.append((student, change, correlation, interval.low, interval.high, len(both)))
    return pd.DataFrame(correlations, columns=["student", "change", "spearman", "low", "high", "heads"])


def _figures(table: pd.DataFrame) -> list[Figure]:
    figures = []
    for student, rows in table.groupby("student", sort=False):
        shape = (rows["layer"].max() + 1, rows["head"].max() + 1)
        change, effect = (rows[name].to_numpy().reshape(shape) for name in ("pattern", "ablation_gradient"))
        figures.append(
            change_against_effect(
                change,
                effect,
                change_title=f"change of attention of {student} (nats)",
                effect_title="Effect of ablating a head (nats, to first order)",
            )
        )
    return figures


def _statements(correlations: pd.DataFrame) -> list[str]:
    sentences = []
    for student, rows in correlations.groupby("student", sort=False):
        parts = [
            f"{CHANGES[str(row.change)]} {row.spearman:+.2f} ({row.low:+.2f} to {row.high:+.2f})"
            for row in rows.itertuples()
        ]
        sentences.append(
            f"{student}: association over heads with the size of the ablation's effect (Spearman): {', '.join(parts)}. "
            "An association, not a cause."
        )
    return sentences
