"""One table of the evidence about a trained student's heads: changes in weights, changes in attention, and effects.

Whether they go together is reported as an association over heads: a head that moved a lot need not matter, and a head
that matters need not have moved.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from kdprobe.console import progress
from kdprobe.errors import KdprobeError, quoted
from kdprobe.probing.analysis import Figure
from kdprobe.probing.figures import change_against_effect
from kdprobe.probing.interventions.sweep import Array, Sweep
from kdprobe.probing.patterns.pairwise import students_side_by_side
from kdprobe.probing.patterns.real_keys import sink_sentences
from kdprobe.probing.weights.geometry import CIRCUITS, student_changes
from kdprobe.stats.rank_correlation import spearman
from kdprobe.students.bridges import Bridges
from kdprobe.students.pool import StudentPool
from kdprobe.students.sequence import ProblemSequence
from kdprobe.students.student import Student

CHANGES = {"qk": "change in the QK circuit", "ov": "change in the OV circuit", "pattern": "change in attention"}
_KEYS = ["student", "layer", "head"]


@dataclass(frozen=True)
class Evidence:
    """The evidence about the heads of trained students.

    Attributes:
        table: One row per student, layer and head: `qk` and `ov`, relative changes in the circuits; `pattern`, Jensen-
            Shannon divergence of the attention from the first student's, in nats; `ablation_gradient` and
            `ablation_exact`, effects on log p(gold solution), in nats, the latter only where it was
            computed. Values that an architecture cannot provide are missing.
        correlations: One row per student and change: Spearman's correlation with the size of the effect.
        figures: Change in attention against effect.
        statements: The correlations in words, why a change is missing, and what is left out of changes in attention.
    """

    table: pd.DataFrame
    correlations: pd.DataFrame
    figures: list[Figure]
    statements: list[str]


@dataclass(frozen=True)
class HeadChanges:
    """How far training moved the heads of students, insofar as their architectures allow it to be measured.

    Attributes:
        patterns: Each student's attention divergence from the first student's, `[layer, head]`, in nats.
        circuits: Each student's rows of the analysis `geometry`.
        sinks: Each student's share of attention that goes to learned sinks, which `patterns` leaves out.
        missing: What is missing, and why.
    """

    patterns: dict[str, Array] = field(default_factory=dict)
    circuits: dict[str, pd.DataFrame] = field(default_factory=dict)
    sinks: dict[str, float] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)


def head_changes(
    bridges: Bridges,
    first: Student,
    trained: Sequence[Student],
    sequences: Sequence[ProblemSequence],
    pool: StudentPool,
    *,
    batch_size: int,
) -> HeadChanges:
    """Examines every student separately: what cannot be measured for one is missing for that one only.

    Args:
        bridges: The students in TransformerLens.
        first: The student that the others are compared with.
        trained: The others.
        sequences: What they read.
        pool: The pool that loads students.
        batch_size: Sequences per batch.
    """
    changes = HeadChanges()
    if not trained:
        return changes
    for student in trained:
        with _or_missing(f"The change in the circuits of {student.name}", changes.missing):
            changes.circuits[student.name] = student_changes(student, first, pool).table
    with _or_missing("The change in attention", changes.missing):
        config = bridges.boot(first.name).bridge.cfg
        alike = []
        for student in trained:
            with _or_missing(f"The change in the attention of {student.name}", changes.missing):
                other = bridges.boot(student.name).bridge.cfg
                if (other.n_layers, other.n_heads) != (config.n_layers, config.n_heads):
                    raise KdprobeError(
                        f"{student.name} is compared with {first.name}, but they differ in the number of layers or "
                        "heads."
                    )
                alike.append(student)
        if alike:
            with progress("Attention side by side", len(sequences), unit="tok") as bar:
                found = students_side_by_side(bridges, [first, *alike], sequences, batch_size=batch_size, bar=bar)
            changes.sinks.update(found.sinks)
            for student in alike:
                changes.patterns[student.name] = found.jensen_shannon[student.name, first.name].mean(axis=0)
    return changes


@contextmanager
def _or_missing(what: str, missing: list[str]) -> Iterator[None]:
    """Records a failure in the block as missing, since heads can be ablated without this evidence."""
    try:
        yield
    except KdprobeError as error:
        missing.append(f"{what} is not reported: {error.message}")
    except Exception as error:  # noqa: BLE001 - untested architectures may fail in any way, and the rest is still useful
        why = quoted(error)
        missing.append(f"{what} is not reported: it could not be measured ({why}).")


def head_evidence(trained: Sequence[Student], changes: HeadChanges, sweeps: Mapping[str, Sweep]) -> Evidence:
    """Combines changes and effects.

    Args:
        trained: The ablated students, without the one that the others are compared with.
        changes: How far training moved their heads.
        sweeps: Each student's ablation results.
    """
    table = pd.DataFrame(columns=[*_KEYS, *CHANGES, "ablation_gradient", "ablation_exact"])
    if trained:
        table = pd.concat(
            [_rows(student.name, changes, sweeps[student.name]) for student in trained], ignore_index=True
        )
    correlations = _correlations(table)
    figures = _figures(table[table["student"].isin(changes.patterns)])
    of_rest = sink_sentences(changes.sinks, "changes in attention compare")
    return Evidence(table, correlations, figures, [*changes.missing, *of_rest, *_statements(correlations)])


def _rows(student: str, changes: HeadChanges, sweep: Sweep) -> pd.DataFrame:
    shape = sweep.screened.shape[1:3]
    exact = np.full(shape, np.nan)
    for (layer, head), effect in zip(sweep.heads, sweep.exact[..., 0].mean(axis=0), strict=True):
        exact[layer, head] = effect
    own = changes.circuits.get(student, pd.DataFrame(columns=[*_KEYS, "circuit", "relative"]))
    rows = weight_changes(student, shape, own)
    pattern = changes.patterns.get(student)
    rows["pattern"] = np.nan if pattern is None else pattern.ravel()
    rows["ablation_gradient"] = sweep.screened[..., 0].mean(axis=0).ravel()
    rows["ablation_exact"] = exact.ravel()
    return rows


def weight_changes(student: str, shape: tuple[int, ...], geometry: pd.DataFrame) -> pd.DataFrame:
    """One row per layer and head, with `qk` and `ov`: the relative changes in its circuits, missing if not known.

    Args:
        student: The student's name.
        shape: The numbers of layers and heads.
        geometry: The student's rows of the analysis `geometry`.
    """
    layers, heads = np.indices(shape)
    rows = pd.DataFrame({"student": student, "layer": layers.ravel(), "head": heads.ravel()})
    for circuit in CIRCUITS:
        relative = geometry[geometry["circuit"] == circuit].set_index(["layer", "head"])["relative"]
        rows[circuit] = relative.reindex(list(zip(rows["layer"], rows["head"], strict=True))).to_numpy(float)
    return rows


def _correlations(table: pd.DataFrame) -> pd.DataFrame:
    """Correlates changes with the size of the first-order effect, which every head has."""
    correlations = []
    for student, rows in table.groupby("student", sort=False):
        for change in CHANGES:
            both = rows[[change, "ablation_gradient"]].dropna()
            # Heads that all changed equally, or not at all, have no order.
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
                change_title=f"change in attention of {student} (nats)",
                effect_title="Effect of ablating a head (nats, first-order estimate)",
            )
        )
    return figures


def _statements(correlations: pd.DataFrame) -> list[str]:
    sentences = []
    for student, rows in correlations.groupby("student", sort=False):
        parts = [
            f"{row.spearman:+.2f} ({row.low:+.2f} to {row.high:+.2f}) with the {CHANGES[str(row.change)]}"
            for row in rows.itertuples()
        ]
        *others, last = parts
        listed = f"{', '.join(others)} and {last}" if others else last
        sentences.append(
            f"{student}: across heads, the size of the ablation effect has a Spearman correlation of {listed}. This is "
            "an association and does not show causation."
        )
    return sentences
