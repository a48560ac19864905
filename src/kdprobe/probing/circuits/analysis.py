"""The analysis `circuits`: which circuits' weights carry the gain from training.

A student is its base plus an update. The update of one circuit is switched on in the base, and off in the student, by
exchanging these weights in place.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from kdprobe.console import progress
from kdprobe.errors import KdprobeError
from kdprobe.models.devices.spread import refuse_offloaded
from kdprobe.models.load import LoadedModel
from kdprobe.probing.analysis import AnalysisContext, AnalysisResult
from kdprobe.probing.circuits.arms import aligned, shown
from kdprobe.probing.circuits.division import divided
from kdprobe.probing.circuits.evidence import OtherEvidence, evidence_sentence, head_evidence
from kdprobe.probing.circuits.figures import figures
from kdprobe.probing.circuits.measured import MeasuredStudent, ScreenedStudent, screened_student, switched_student
from kdprobe.probing.circuits.report import statements, summary
from kdprobe.probing.circuits.selection import CircuitSelection, select_circuits
from kdprobe.probing.circuits.tables import circuit_tables
from kdprobe.probing.interventions.attribution_patching import screened_effects
from kdprobe.probing.interventions.forward import reader
from kdprobe.probing.interventions.options import CircuitsOptions
from kdprobe.probing.interventions.patching import read_heads
from kdprobe.probing.interventions.replacement import patched
from kdprobe.probing.interventions.sweep import chosen_students, load_in_full, refuse_packed
from kdprobe.probing.untrained import untrained_of
from kdprobe.probing.weights.geometry import student_changes
from kdprobe.students.replicates import with_enough_seeds
from kdprobe.students.sequence import ProblemSequence
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
                "The analysis 'circuits' divides the gain from training among circuits, but none of the students was "
                "trained.",
                "Add an adapter, or `--against`.",
            )
        found: list[MeasuredStudent] = []
        evidence: dict[str, pd.DataFrame] = {}
        for members in _selected_together(students):
            # One student after the other, so that no more than one is in memory besides its base.
            screened = [self._screened(context, student, untrained) for student in members]
            selection = _selection(screened, self.options)
            for student, each in zip(members, screened, strict=True):
                one, rows = self._switched(context, student, untrained, each, selection)
                found.append(one)
                evidence[student.name] = rows
        order = [student.name for student in students]
        found.sort(key=lambda one: order.index(one.student))
        sequences = self._sequences(context)
        arms = shown(found)
        return AnalysisResult(
            tables={
                **circuit_tables(found, [sequence.id for sequence in sequences], context.seed),
                "head_evidence": pd.concat([evidence[name] for name in order], ignore_index=True),
            },
            figures=figures(arms, context.seed),
            statements=[
                *statements(arms, context.seed),
                *(
                    sentence
                    for arm in arms
                    if (sentence := evidence_sentence([evidence[each.student] for each in arm.members], arm))
                ),
            ],
            summary=summary(found),
        )

    def _sequences(self, context: AnalysisContext) -> list[ProblemSequence]:
        return context.sequences[: self.options.problems]

    def _screened(self, context: AnalysisContext, student: Student, untrained: Student) -> ScreenedStudent:
        base, trained, against = _loaded(context, student, untrained)
        return screened_student(
            *(divided(base, trained), self._sequences(context), student.name, student.arm, against),
            by_layer=self.options.layers,
        )

    def _switched(
        self,
        context: AnalysisContext,
        student: Student,
        untrained: Student,
        screened: ScreenedStudent,
        selection: CircuitSelection,
    ) -> tuple[MeasuredStudent, pd.DataFrame]:
        sequences = self._sequences(context)
        base, trained, against = _loaded(context, student, untrained)
        one = switched_student(screened, divided(base, trained), sequences, selection)
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
    return student.adapter is None and student.base.weights == untrained.base.weights


def _selected_together(students: Sequence[Student]) -> list[list[Student]]:
    """The students of each arm with enough seeds, whose circuits are selected together, and every other student."""
    arms = with_enough_seeds(students)
    return [*arms.values(), *([student] for student in students if student.arm not in arms)]


def _selection(screened: Sequence[ScreenedStudent], options: CircuitsOptions) -> CircuitSelection:
    """The circuits that are selected by the mean over seeds."""
    circuits = list(dict.fromkeys(circuit for each in screened for circuit in each.screened))
    effects = [
        aligned(circuits, each.screened, each.screened_effects.on - each.screened_effects.off) for each in screened
    ]
    gain = np.mean([each.gain.by_problem[:, 0] for each in screened], axis=0)
    return select_circuits(circuits, np.mean(effects, axis=0)[..., 0], gain, options.exact, options.folds)


def _loaded(context: AnalysisContext, student: Student, untrained: Student) -> tuple[LoadedModel, LoadedModel, str]:
    """A student's base in float32, the student, and the base's name.

    Raises:
        KdprobeError: One of them is quantised.
    """
    trained = load_in_full(context.pool, student)
    record = student.base if student.adapter else untrained.base
    refuse_packed(record.name, record)
    base = context.pool.bases.base(record, dtype="float32")
    refuse_offloaded(base, "Probing")
    return base, trained, untrained.name if base.record.weights == untrained.base.weights else base.record.name
