"""The analysis `output_divergence`: where students' next-token distributions differ on the same text.

All students read the question and the gold solution under teacher forcing. `drift` measures the same divergence on text
that the models write themselves.
"""

from __future__ import annotations

from collections.abc import Sequence

from kdprobe.console import progress
from kdprobe.probing.analysis import AnalysisContext, AnalysisResult
from kdprobe.probing.interventions.sweep import chosen_students
from kdprobe.probing.options import OutputDivergenceOptions
from kdprobe.probing.outputs.differences.figures import figures
from kdprobe.probing.outputs.differences.measured import Pair, Text, texts_of
from kdprobe.probing.outputs.differences.reading import Reading, reading
from kdprobe.probing.outputs.differences.report import statements, summary
from kdprobe.probing.outputs.differences.tables import difference_tables, token_texts
from kdprobe.probing.outputs.differences.token_divergence import token_differences
from kdprobe.probing.untrained import trained_students, untrained_of
from kdprobe.students.student import Student


class OutputDivergenceAnalysis:
    """KL(untrained || student) and the Jensen-Shannon divergence at every token, by part of the text."""

    def __init__(self, options: OutputDivergenceOptions) -> None:
        self.options = options

    def run(self, context: AnalysisContext) -> AnalysisResult:
        """Compares every student with the untrained model, and by option with each other.

        Raises:
            UsageError: A student has another vocabulary.
            KdprobeError: There is no other student, or a model cannot be loaded or read.
            NonFiniteError: A model's outputs are NaN or infinite.
        """
        untrained = untrained_of(context.students)
        chosen = chosen_students(context.students, self.options.students, "output_divergence")
        students = trained_students(untrained, chosen, "Output divergence")
        texts = texts_of(context.sequences)
        pairs = _compared(context, untrained, students, texts, against_untrained=True)
        if self.options.pairs:
            for index, student in enumerate(students[:-1], start=1):
                pairs += _compared(context, student, students[index:], texts, against_untrained=False)
        tokenizer = untrained.load_tokenizer()
        return AnalysisResult(
            tables=difference_tables(pairs, self.options.threshold, tokenizer),
            figures=figures(pairs, untrained.name, token_texts(tokenizer)),
            statements=statements(pairs, texts, self.options, tokenizer),
            summary=summary(pairs, untrained.name, self.options.threshold),
        )


def build(options: OutputDivergenceOptions) -> OutputDivergenceAnalysis:
    """The analysis."""
    return OutputDivergenceAnalysis(options)


def _compared(
    context: AnalysisContext,
    against: Student,
    students: Sequence[Student],
    texts: Sequence[Text],
    *,
    against_untrained: bool,
) -> list[Pair]:
    """Each student compared with one model, which reads every text only once."""
    with reading(against.name, context.pool.loaded(against), keeps=True) as reference:
        # In a function of its own, so that one student is released before the next is loaded.
        return [_pair(context, reference, student, texts, against_untrained) for student in students]


def _pair(
    context: AnalysisContext, reference: Reading, student: Student, texts: Sequence[Text], against_untrained: bool
) -> Pair:
    differences = []
    with (
        reading(student.name, context.pool.loaded(student)) as read,
        progress(f"Outputs of {student.name} and {reference.name}", len(texts), unit="tok") as bar,
    ):
        for text in texts:
            differences.append(token_differences(reference, read, text.sequence.ids))
            bar.advance(1, work=len(text.parts))
    return Pair(
        *(student.name, student.arm, student.seed, reference.name),
        against_untrained=against_untrained,
        texts=texts,
        differences=differences,
    )
