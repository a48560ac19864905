"""The analysis `contrast`: where a student carries the answer, by patching from a run with different numbers.

The outcome is the difference between the log-probabilities of the two answers, and effects are shares of its change
between the runs (Zhang and Nanda, 2024, arXiv 2309.16042; Stolfo et al., 2023, arXiv 2305.15054).
"""

from __future__ import annotations

from collections.abc import Sequence

from kdprobe.console import progress
from kdprobe.probing.analysis import AnalysisContext, AnalysisResult
from kdprobe.probing.contrast.figures import figures
from kdprobe.probing.contrast.measured import ContrastedStudent
from kdprobe.probing.contrast.pairs import ContrastPair, contrast_pairs
from kdprobe.probing.contrast.patched import patched_effects
from kdprobe.probing.contrast.reading import ContrastReader, contrast_reader
from kdprobe.probing.contrast.report import statements, summary
from kdprobe.probing.contrast.sites import Site, evenly_spaced, parts_in, sites_of
from kdprobe.probing.contrast.tables import contrast_tables
from kdprobe.probing.interventions.sweep import chosen_students, load_in_full
from kdprobe.probing.options import ContrastOptions
from kdprobe.probing.untrained import untrained_of
from kdprobe.students.student import Student


class ContrastAnalysis:
    """Patches every student's run on a problem with its run on the same problem with different numbers."""

    def __init__(self, options: ContrastOptions) -> None:
        self.options = options

    def run(self, context: AnalysisContext) -> AnalysisResult:
        """Reads pairs with the untrained model and every student.

        Raises:
            KdprobeError: Too few problems have an aligned counterfactual, a student cannot be loaded, or its
                architecture cannot be patched.
            NonFiniteError: A student's logits are NaN or infinite.
        """
        first = untrained_of(context.students)
        chosen = chosen_students(context.students, self.options.students, "contrast")
        found = contrast_pairs(context, self.options.problems, self.options.reads)
        layers: list[int] = []
        untrained, *students = (
            self._student(context, student, found.pairs, layers)
            for student in [first, *(each for each in chosen if each != first)]
        )
        return AnalysisResult(
            tables=contrast_tables(untrained, students, first.load_tokenizer(), context.seed),
            figures=figures(untrained, students),
            statements=statements(found, untrained, students, layers[0], context.seed),
            summary=summary(untrained, students, context.seed),
        )

    def _student(
        self, context: AnalysisContext, student: Student, pairs: Sequence[ContrastPair], layers: list[int]
    ) -> ContrastedStudent:
        # In a function of its own, so that one student is released before the next is loaded.
        reading = contrast_reader(student.name, load_in_full(context.pool, student))
        layers.append(len(reading.anatomy))
        sites = self._sites(reading, pairs)
        effects = []
        with progress(f"Patching {student.name}, {len(sites)} sites", len(pairs)) as bar:
            for pair in pairs:
                effects.append(patched_effects(reading, pair, sites, batch_size=context.batch_size))
                bar.advance(1)
        return ContrastedStudent(student.name, student.arm, pairs, sites, effects)

    def _sites(self, reading: ContrastReader, pairs: Sequence[ContrastPair]) -> list[Site]:
        return list(
            sites_of(
                evenly_spaced(len(reading.anatomy), self.options.layers),
                parts_in(pairs),
                mlps=bool(reading.mlps),
                heads=0 if self.options.heads == "none" else reading.anatomy.heads,
                heads_by_position=self.options.heads == "by_position",
            )
        )


def build(options: ContrastOptions) -> ContrastAnalysis:
    """The analysis."""
    return ContrastAnalysis(options)
