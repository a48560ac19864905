"""The analysis `geometry`: how far training moved the QK and OV circuit of every head, from the weights alone.

What is measured is the bilinear form W_Q^T W_K and the map W_O W_V on the residual stream, without positions, biases
and norms: rotary embeddings turn queries and keys between the two factors, differently for every distance.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from kdprobe.models.adapter_files import lies_beside
from kdprobe.models.merging import attach
from kdprobe.models.shared_bases import SharedBases
from kdprobe.probing.analysis import AnalysisContext, AnalysisResult, Need
from kdprobe.probing.figures import FROM_WEIGHTS, head_map
from kdprobe.probing.labels import head_label
from kdprobe.probing.weights.attention_weights import HeadWeights, adapter_weights, full_weights
from kdprobe.probing.weights.circuits import change_norm, product_norm
from kdprobe.students.pool import StudentPool
from kdprobe.students.student import Student

CIRCUITS = {"qk": ("q", "k"), "ov": ("o", "v")}
_NAMES = {"qk": "QK", "ov": "OV"}
_TOP = 10


class GeometryAnalysis:
    """Relative change of the circuits of every trained student."""

    needs: frozenset[Need] = frozenset({"students"})

    def run(self, context: AnalysisContext) -> AnalysisResult:
        """Compares every student with the base that it was trained from."""
        changes = circuit_changes(context.students, context.pool)
        return AnalysisResult(
            tables={"geometry": changes},
            figures=[
                figure for name, rows in changes.groupby("student", sort=False) for figure in _maps(str(name), rows)
            ],
            statements=_statements(changes),
            summary=_summary(changes),
        )


def build(_options: None) -> GeometryAnalysis:
    """The analysis takes no options."""
    return GeometryAnalysis()


def circuit_changes(students: Sequence[Student], pool: StudentPool | None = None) -> pd.DataFrame:
    """The circuits of all students that were trained.

    A student with an adapter is compared with the model under it; one without, that is another model than the first
    student's base, with that base.

    Args:
        students: The students; the first is the one that others are compared with.
        pool: Where they are loaded; what it knows of a student already is not measured again.

    Returns:
        One row per student, layer, head and circuit: `base` and `change`, Frobenius norms, and `relative`, their ratio.

    Raises:
        KdprobeError: The architecture does not keep its attention weights in four projections, or two models that are
            compared differ in shape.
    """
    pool = StudentPool() if pool is None else pool
    first, rows = students[0], []
    for student in students:
        rows += pool.once(("circuits", student, first.base.digest), partial(_rows, pool.bases, student, first))
    return pd.DataFrame(rows, columns=["student", "layer", "head", "circuit", "base", "change", "relative"])


def _rows(bases: SharedBases, student: Student, first: Student) -> list[tuple[Any, ...]]:
    rows = []
    for layer, weights in enumerate(_trained_weights(bases, student, first)):
        for circuit, names in CIRCUITS.items():
            left, right = (weights[name] for name in names)
            changes = change_norm(left.weight, right.weight, left.change, right.change).tolist()
            base_norms = product_norm(left.weight, right.weight).tolist()
            for head, (base, change) in enumerate(zip(base_norms, changes, strict=True)):
                rows.append((student.name, layer, head, circuit, base, change, change / base if base else np.nan))
    return rows


def _trained_weights(bases: SharedBases, student: Student, first: Student) -> Iterator[dict[str, HeadWeights]]:
    if student.adapter is not None:
        base = bases.base(student.base, dtype="float32")
        if lies_beside(student.adapter):
            return adapter_weights(attach(base, {"default": student.adapter}).model, "default")
        merged = bases.merged(student.base, student.adapter, dtype="float32")
        return full_weights(base.model, merged.model)
    if student.base.digest != first.base.digest:
        models: list[Any] = [bases.base(record, dtype="float32").model for record in (first.base, student.base)]
        return full_weights(*models)
    return iter(())


def _maps(student: str, rows: pd.DataFrame) -> Iterator[Any]:
    for circuit, name in _NAMES.items():
        circuit_rows = rows[rows["circuit"] == circuit]
        values = circuit_rows.pivot_table(index="layer", columns="head", values="relative", dropna=False).to_numpy()
        title = f"Relative change of the {name} circuit, by head: {student}"
        yield head_map(title, values, "of the base", FROM_WEIGHTS)


def _statements(changes: pd.DataFrame) -> list[str]:
    if changes.empty:
        return ["No student was trained, so no circuit changed."]
    sentences = []
    for student, rows in changes.groupby("student", sort=False):
        if not rows["change"].any():
            sentences.append(f"{student}: no head's circuits changed.")
            continue
        parts = []
        for circuit, name in _NAMES.items():
            circuit_rows = rows[rows["circuit"] == circuit].reset_index()
            top = circuit_rows.iloc[circuit_rows["relative"].argmax()]
            parts.append(
                f"{name} by {circuit_rows['relative'].median():.1%} in the median head and most, by "
                f"{top['relative']:.1%}, in {head_label(top['layer'], top['head'])}"
            )
        sentences.append(f"{student}: training moved {'; '.join(parts)}.")
    return sentences


def _summary(changes: pd.DataFrame) -> Mapping[str, Any]:
    """Student to circuit to the heads that moved most."""
    students: dict[str, dict[str, Any]] = {}
    for (student, circuit), rows in changes.groupby(["student", "circuit"], sort=False):
        leading = rows.sort_values("relative", ascending=False, kind="stable").head(_TOP)
        heads = leading[["layer", "head", "relative"]].to_dict("records")
        students.setdefault(str(student), {})[str(circuit)] = heads
    return {"students": students}
