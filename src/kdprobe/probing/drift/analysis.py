"""The analysis `drift`: how far students' next-token distributions moved from the untrained model's, without labels.

The KL divergence from the untrained model, on the new task, predicts how much a fine-tuned model forgets of others
(Shenfeld et al., 2025, arXiv 2509.04259).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from kdprobe.console import progress
from kdprobe.models.load import LoadedModel
from kdprobe.probing.analysis import AnalysisContext, AnalysisResult
from kdprobe.probing.drift import tables
from kdprobe.probing.drift.divergence import Reader, divergences, reading
from kdprobe.probing.drift.measured import Direction, Measured
from kdprobe.probing.drift.prompts import KINDS, NEUTRAL, Prompt, drift_prompts
from kdprobe.probing.drift.report import figures, statements, summary
from kdprobe.probing.drift.sampling import Sample, draw_samples
from kdprobe.probing.interventions.sweep import chosen_students
from kdprobe.probing.options import DriftOptions
from kdprobe.probing.untrained import trained_students, untrained_of
from kdprobe.students.student import Student


class DriftAnalysis:
    """KL(untrained || student) on text of the untrained model, and the reverse on the student's own text."""

    def __init__(self, options: DriftOptions) -> None:
        self.options = options

    def run(self, context: AnalysisContext) -> AnalysisResult:
        """Measures every student except the untrained model itself.

        Raises:
            UsageError: A student has another vocabulary, or a prompt does not fit into a model's context.
            KdprobeError: There is no other student, or a model cannot be loaded.
            NonFiniteError: A model's logits are NaN or infinite.
        """
        untrained = untrained_of(context.students)
        chosen = chosen_students(context.students, self.options.students, "drift")
        students = trained_students(untrained, chosen, "Drift")
        prompts = self._prompts(context)
        base = context.pool.loaded(untrained)
        shared = self._draw(context, untrained.name, base, prompts)
        written, measured = {untrained.name: shared}, list[Measured]()
        with reading(untrained.name, base, keeps=True) as reference:
            for student in students:
                # In a function of its own, so that one student is released before the next is loaded.
                written[student.name], found = self._student(context, student, reference, prompts, shared)
                measured += found
        return AnalysisResult(
            tables=tables.drift_tables(measured, written, untrained.name, base.tokenizer),
            figures=figures(measured, untrained.name),
            statements=statements(measured, written, untrained.name, self.options, context.seed),
            summary=summary(measured, untrained.name),
        )

    def _prompts(self, context: AnalysisContext) -> list[Prompt]:
        names = [student.name for student in context.students]
        reader = context.students[names.index(context.template_of) if context.template_of else 0]
        return drift_prompts(reader.load_tokenizer(), context.problems, self.options.neutral or NEUTRAL)

    def _draw(self, context: AnalysisContext, name: str, model: LoadedModel, prompts: Sequence[Prompt]) -> list[Sample]:
        return draw_samples(
            *(model, prompts),
            samples=self.options.samples,
            max_new_tokens=self.options.max_new_tokens,
            seed=context.seed,
            batch_size=self.options.batch_size,
            label=f"Text of {name}",
        )

    def _student(
        self,
        context: AnalysisContext,
        student: Student,
        reference: Reader,
        prompts: Sequence[Prompt],
        shared: Sequence[Sample],
    ) -> tuple[list[Sample], list[Measured]]:
        """A student's own text, and its divergence in both directions on both kinds of prompt."""
        loaded = context.pool.loaded(student)
        own = self._draw(context, student.name, loaded, prompts)
        measured = []
        with (
            reading(student.name, loaded) as reader,
            progress(f"Drift of {student.name}", len(shared) + len(own), unit="tok") as bar,
        ):
            # Rows on the text of one student are of no use to the next.
            passing = replace(reference, kept=None)
            directions: dict[Direction, tuple[Reader, Reader, Sequence[Sample]]] = {
                "forward": (reference, reader, shared),
                "reverse": (reader, passing, own),
            }
            for direction, (p, q, samples) in directions.items():
                sums = divergences(p, q, samples, batch_size=context.batch_size, bar=bar)
                for kind in KINDS:
                    rows = [row for row, sample in enumerate(samples) if sample.prompt.kind == kind]
                    of_kind = [samples[row] for row in rows], np.array([sums[row] for row in rows])
                    measured.append(Measured(student.name, student.arm, student.seed, direction, kind, *of_kind))
        return own, measured


def build(options: DriftOptions) -> DriftAnalysis:
    """The analysis."""
    return DriftAnalysis(options)
