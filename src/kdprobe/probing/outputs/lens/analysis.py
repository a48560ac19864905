"""The analysis `logit_lens`: what each layer's residual stream would predict if it were the last.

The residual stream after a layer is passed through the final norm and the unembedding (nostalgebraist, 2020,
"interpreting GPT: the logit lens").
"""

from __future__ import annotations

from collections.abc import Sequence

from kdprobe.console import progress
from kdprobe.probing.analysis import AnalysisContext, AnalysisResult
from kdprobe.probing.interventions.sweep import chosen_students
from kdprobe.probing.options import LogitLensOptions
from kdprobe.probing.outputs.differences.measured import Text, texts_of
from kdprobe.probing.outputs.differences.reading import reading
from kdprobe.probing.outputs.lens.measured import LensedStudent
from kdprobe.probing.outputs.lens.report import figures, statements, summary
from kdprobe.probing.outputs.lens.streams import layer_values, lens_of
from kdprobe.probing.outputs.lens.tables import lens_tables
from kdprobe.probing.untrained import untrained_of
from kdprobe.students.student import Student


class LogitLensAnalysis:
    """Log p of the gold tokens after each layer, and KL from the final distribution, for every student."""

    def __init__(self, options: LogitLensOptions) -> None:
        self.options = options

    def run(self, context: AnalysisContext) -> AnalysisResult:
        """Reads the first of the context's problems with the untrained model and every student.

        Raises:
            KdprobeError: A model cannot be loaded, or its final norm is not found.
            NonFiniteError: A model's outputs are NaN or infinite.
        """
        first = untrained_of(context.students)
        chosen = chosen_students(context.students, self.options.students, "logit_lens")
        texts = texts_of(context.sequences[: self.options.problems])
        untrained, *students = (
            _read(context, student, texts) for student in [first, *(each for each in chosen if each != first)]
        )
        return AnalysisResult(
            tables=lens_tables(untrained, students, context.seed),
            figures=figures(untrained, students),
            statements=statements(untrained, students, context.seed),
            summary=summary(untrained, students, context.seed),
        )


def build(options: LogitLensOptions) -> LogitLensAnalysis:
    """The analysis."""
    return LogitLensAnalysis(options)


def _read(context: AnalysisContext, student: Student, texts: Sequence[Text]) -> LensedStudent:
    values = []
    with (
        reading(student.name, context.pool.loaded(student)) as read,
        progress(f"Layers of {student.name}", len(texts), unit="tok") as bar,
    ):
        lens = lens_of(read)
        for text in texts:
            values.append(layer_values(lens, text.sequence))
            bar.advance(1, work=len(text.parts))
    return LensedStudent(student.name, student.arm, texts, values)
