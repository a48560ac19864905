"""The analysis `geometry`: how far training moved the QK and OV circuit of every head, computed from the weights.

It measures the bilinear form W_Q^T W_K and the map W_O W_V on the residual stream, without positions, biases and norms:
rotary embeddings rotate queries and keys between the two factors, differently for every distance. The change comes from
an adapter's factors if there are any, otherwise from the difference between the merged weights and the base's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from kdprobe.models.devices.spread import refuse_offloaded
from kdprobe.models.merging.files import adapter_methods, lies_beside
from kdprobe.models.merging.merge import attach
from kdprobe.models.reference import Precision
from kdprobe.models.shared_bases import SharedBases
from kdprobe.probing.analysis import AnalysisContext, AnalysisResult
from kdprobe.probing.figures import FROM_WEIGHTS, head_map
from kdprobe.probing.labels import head_label
from kdprobe.probing.weights.attention_weights import HeadWeights, adapter_weights, full_weights
from kdprobe.probing.weights.circuits import change_norm, product_norm
from kdprobe.probing.weights.uncounted import trained_biases, uncounted, uncounted_changes
from kdprobe.students.pool import StudentPool
from kdprobe.students.student import Student
from kdprobe.words import enumerated

CIRCUITS = {"qk": ("q", "k"), "ov": ("o", "v")}
_NAMES = {"qk": "QK", "ov": "OV"}
_TOP = 10
_COLUMNS = ["student", "layer", "head", "circuit", "base", "change", "relative"]


class GeometryAnalysis:
    """Relative change in the circuits of every trained student."""

    def run(self, context: AnalysisContext) -> AnalysisResult:
        """Compares every student with its base."""
        changes = circuit_changes(context.students, context.pool, context.dtype)
        return AnalysisResult(
            tables={"geometry": changes.table},
            figures=[
                figure
                for name, rows in changes.table.groupby("student", sort=False)
                for figure in _maps(str(name), rows)
            ],
            statements=_statements(changes),
            summary=_summary(changes.table),
        )


def build(_options: None) -> GeometryAnalysis:
    """The analysis takes no options."""
    return GeometryAnalysis()


@dataclass(frozen=True)
class CircuitChanges:
    """How far training moved the circuits of students.

    Attributes:
        table: One row per student, layer, head and circuit: `base` and `change`, Frobenius norms, and `relative`, their
            ratio.
        uncounted: Parts of these students' attention that belong to no circuit.
        also_changed: For each student, those of these parts that training changed.
    """

    table: pd.DataFrame
    uncounted: list[str]
    also_changed: dict[str, list[str]]


def circuit_changes(
    students: Sequence[Student], pool: StudentPool | None = None, dtype: Precision = "float32"
) -> CircuitChanges:
    """Measures the circuits of all trained students.

    A student with an adapter is compared with the model under it; a student that is a whole model, and not the first
    student's base, with that base.

    Args:
        students: The students; the others are compared with the first.
        pool: The pool that loads them; students that it has already measured are not measured again.
        dtype: Data type in which the base of a LoRA is loaded; norms are computed in float64, weight by weight. For
            all other students, including those trained with DoRA, weights are loaded in float32, because rounding would
            hide what training changed.

    Raises:
        KdprobeError: The architecture stores its attention weights in an unknown form, or those of two compared models
            differ in shape.
    """
    pool = StudentPool() if pool is None else pool
    measured = [student_changes(student, students[0], pool, dtype) for student in students]
    return CircuitChanges(
        pd.DataFrame([row for one in measured for row in one.rows], columns=_COLUMNS),
        list(dict.fromkeys(part for one in measured for part in one.uncounted)),
        {student.name: one.also_changed for student, one in zip(students, measured, strict=True)},
    )


def student_changes(student: Student, first: Student, pool: StudentPool, dtype: Precision = "float32") -> Measured:
    """Measures the circuits of one student; arguments and errors as above."""
    key = ("circuits", student, first.base.weights, dtype)
    return pool.once(key, partial(_measured, pool.bases, student, first, dtype))


@dataclass(frozen=True)
class Measured:
    """The measurements of one student; empty for one that was not trained."""

    rows: list[tuple[Any, ...]]
    uncounted: list[str]
    also_changed: list[str]

    @property
    def table(self) -> pd.DataFrame:
        """These measurements in the form of those of all students."""
        return pd.DataFrame(self.rows, columns=_COLUMNS)


def _measured(bases: SharedBases, student: Student, first: Student, dtype: Precision) -> Measured:
    if student.adapter is None and student.base.weights == first.base.weights:
        return Measured([], [], [])
    if student.adapter is not None and lies_beside(student.adapter):
        # The magnitudes of a DoRA are relative to the lengths of the base's rows, which rounding would change.
        exact = "DoRA" in adapter_methods(student.adapter)
        before = bases.base(student.base, dtype="float32" if exact else dtype)
        # Before the adapter is attached, since that adds parameters to attention.
        parts = uncounted(before.model)
        model = attach(before, {"default": student.adapter}).model
        return Measured(_rows(student, adapter_weights(model, "default")), parts, trained_biases(model, "default"))
    before = bases.base(student.base if student.adapter else first.base, dtype="float32")
    trained = bases.student(student.base, student.adapter, dtype="float32")
    for each in (before, trained):
        refuse_offloaded(each, "Probing")
    rows = _rows(student, full_weights(before.model, trained.model))
    return Measured(rows, uncounted(before.model), uncounted_changes(before.model, trained.model))


def _rows(student: Student, layers: Iterator[dict[str, HeadWeights]]) -> list[tuple[Any, ...]]:
    rows = []
    for layer, weights in enumerate(layers):
        for circuit, names in CIRCUITS.items():
            left, right = (weights[name] for name in names)
            changes = change_norm(left.weight, right.weight, left.change, right.change).tolist()
            base_norms = product_norm(left.weight, right.weight).tolist()
            for head, (base, change) in enumerate(zip(base_norms, changes, strict=True)):
                rows.append((student.name, layer, head, circuit, base, change, change / base if base else np.nan))
    return rows


def _maps(student: str, rows: pd.DataFrame) -> Iterator[Any]:
    for circuit, name in _NAMES.items():
        circuit_rows = rows[rows["circuit"] == circuit]
        values = circuit_rows.pivot_table(index="layer", columns="head", values="relative", dropna=False).to_numpy()
        title = f"Relative change in the {name} circuit, by head: {student}"
        yield head_map(title, values, "relative to the base", FROM_WEIGHTS)


def _statements(changes: CircuitChanges) -> list[str]:
    if changes.table.empty:
        return ["No student was trained, so no circuit changed."]
    sentences = []
    for student, rows in changes.table.groupby("student", sort=False):
        also = [f"the {kind}" for kind in changes.also_changed[str(student)]]
        besides = f" Training also changed {enumerated(also)}, which belong to no circuit." if also else ""
        if not rows["change"].any():
            sentences.append(f"{student}: no head's circuits changed.{besides}")
            continue
        parts = []
        for circuit, name in _NAMES.items():
            circuit_rows = rows[rows["circuit"] == circuit].reset_index()
            top = circuit_rows.iloc[circuit_rows["relative"].argmax()]
            parts.append(
                f"the {name} circuit by {circuit_rows['relative'].median():.1%} in the median head and by up to "
                f"{top['relative']:.1%} ({head_label(top['layer'], top['head'])})"
            )
        sentences.append(f"{student}: training changed {', and '.join(parts)}.{besides}")
    if changes.uncounted:
        others = enumerated([f"the {kind}" for kind in changes.uncounted])
        sentences.append(f"Not counted, because they belong to no circuit: {others}.")
    return sentences


def _summary(changes: pd.DataFrame) -> Mapping[str, Any]:
    """For each student and circuit, the heads that moved most."""
    students: dict[str, dict[str, Any]] = {}
    for (student, circuit), rows in changes.groupby(["student", "circuit"], sort=False):
        leading = rows.sort_values("relative", ascending=False, kind="stable").head(_TOP)
        heads = leading[["layer", "head", "relative"]].to_dict("records")
        students.setdefault(str(student), {})[str(circuit)] = heads
    return {"students": students}
