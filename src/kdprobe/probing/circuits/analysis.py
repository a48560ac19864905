"""The analysis `circuits`: which circuits' weights carry the gain from training.

A student is its base plus an update. The update of one circuit is switched on in the base, and off in the student, by
exchanging these weights in place.
"""

from __future__ import annotations

import pandas as pd

from kdprobe.console import progress
from kdprobe.errors import KdprobeError
from kdprobe.models.load import LoadedModel
from kdprobe.models.reference import ModelRecord
from kdprobe.probing.analysis import AnalysisContext, AnalysisResult
from kdprobe.probing.circuits.division import divided
from kdprobe.probing.circuits.evidence import OtherEvidence, evidence_sentence, head_evidence
from kdprobe.probing.circuits.figures import figures
from kdprobe.probing.circuits.measured import MeasuredStudent, measured
from kdprobe.probing.circuits.report import statements, summary
from kdprobe.probing.circuits.tables import circuit_tables
from kdprobe.probing.interventions.attribution_patching import screened_effects
from kdprobe.probing.interventions.forward import reader
from kdprobe.probing.interventions.options import CircuitsOptions
from kdprobe.probing.interventions.patching import read_heads
from kdprobe.probing.interventions.replacement import patched
from kdprobe.probing.interventions.sweep import chosen_students, load_in_full, refuse_packed
from kdprobe.probing.untrained import untrained_of
from kdprobe.probing.weights.geometry import student_changes
from kdprobe.students.student import Student


class CircuitsAnalysis:
    """Switches the updates of circuits, alone and in groups."""

    def __init__(self, options: CircuitsOptions) -> None:
        self.options = options

    def run(self, context: AnalysisContext) -> AnalysisResult:
        """Examines every trained student.

        Raises:
            KdprobeError: There is none, or the weights of one cannot be divided into circuits.
        """
        untrained = untrained_of(context.students)
        chosen = chosen_students(context.students, self.options.students, "circuits")
        students = [student for student in chosen if not _is_base(student, untrained)]
        if not students:
            raise KdprobeError(
                "The analysis 'circuits' divides what training changed, but none of the students was trained.",
                "Add an adapter, or `--against`.",
            )
        found, evidence = [], []
        for student in students:
            one, rows = self._examined(context, student, untrained)
            found.append(one)
            evidence.append(rows)
        problems = [sequence.id for sequence in context.sequences[: self.options.problems]]
        return AnalysisResult(
            tables={
                **circuit_tables(found, problems, context.seed),
                "head_evidence": pd.concat(evidence, ignore_index=True),
            },
            figures=figures(found, context.seed),
            statements=[
                *statements(found, context.seed),
                *(
                    sentence
                    for one, rows in zip(found, evidence, strict=True)
                    if (sentence := evidence_sentence(rows, one))
                ),
            ],
            summary=summary(found),
        )

    def _examined(
        self, context: AnalysisContext, student: Student, untrained: Student
    ) -> tuple[MeasuredStudent, pd.DataFrame]:
        sequences = context.sequences[: self.options.problems]
        trained = load_in_full(context.pool, student)
        base = _base(context, student.base if student.adapter else untrained.base)
        division = divided(base, trained)
        against = untrained.name if base.record.digest == untrained.base.digest else base.record.name
        one = measured(division, sequences, self.options, student.name, against)
        donor = patched(read_heads(trained, sequences, student.name))
        with reader(base) as reading, progress(f"Patching by gradient: {against}", len(sequences)) as bar:
            effects = screened_effects(reading, sequences, donor, bar=bar)
        geometry = student_changes(student, untrained, context.pool).table
        patching = effects[..., 0].mean(dim=0).numpy()
        return one, head_evidence(one, OtherEvidence(geometry, patching))


def build(options: CircuitsOptions) -> CircuitsAnalysis:
    """The analysis."""
    return CircuitsAnalysis(options)


def _is_base(student: Student, untrained: Student) -> bool:
    return student.adapter is None and student.base.digest == untrained.base.digest


def _base(context: AnalysisContext, record: ModelRecord) -> LoadedModel:
    """A base in float32.

    Raises:
        KdprobeError: It is quantised.
    """
    refuse_packed(record.name, record)
    return context.pool.bases.base(record, dtype="float32")
