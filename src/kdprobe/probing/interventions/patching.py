"""The analysis `patching`: which heads carry what training gained on the gold solutions.

What a head of one student writes on the same tokens takes the place of what it writes in the other: of the trained one
in the first student, where a carrying head brings part of the gain, and the other way round, where it takes part away.
"""

from __future__ import annotations

from collections.abc import Mapping

from kdprobe.console import progress
from kdprobe.errors import KdprobeError
from kdprobe.probing.analysis import AnalysisContext, AnalysisResult, Need
from kdprobe.probing.interventions.attribution_patching import screened_effects
from kdprobe.probing.interventions.forward import HeadOutputs, head_outputs, reader
from kdprobe.probing.interventions.gain import Gain
from kdprobe.probing.interventions.options import PatchingOptions
from kdprobe.probing.interventions.patching_report import Patched, patching_result
from kdprobe.probing.interventions.replacement import patched
from kdprobe.probing.interventions.sweep import Sign, chosen_sequences, chosen_students, load_in_full, sweep
from kdprobe.students.student import Student


class PatchingAnalysis:
    """Moves head outputs between the first student and the others."""

    needs: frozenset[Need] = frozenset({"students", "problems"})

    def __init__(self, options: PatchingOptions) -> None:
        self.options = options

    def run(self, context: AnalysisContext) -> AnalysisResult:
        """Goes through the students that are not the first.

        Raises:
            KdprobeError: There is no other, or its heads are not those of the first.
        """
        first = context.students[0]
        students = [
            one
            for one in chosen_students(context.students, self.options.students, "patching")
            if one.name != first.name
        ]
        if not students:
            raise KdprobeError(
                "Patching moves head outputs between two students, and there is one.", "Add an adapter, or `--against`."
            )
        outputs = {student.name: self._outputs(student, context) for student in [first, *students]}
        _refuse_unlike(outputs)
        log_p = {name: one.log_p.cpu().numpy() for name, one in outputs.items()}
        gains = {one.name: Gain(log_p[one.name], log_p[first.name], context.seed) for one in students}
        found: list[Patched] = []
        if "first" in self.options.into:
            found += self._patch(first, {one.name: one.name for one in students}, outputs, gains, context)
        if "student" in self.options.into:
            for student in students:
                found += self._patch(student, {student.name: first.name}, outputs, gains, context)
        return patching_result(found, first.name, gains, context, chosen_sequences(context, self.options))

    def _outputs(self, student: Student, context: AnalysisContext) -> HeadOutputs:
        sequences = chosen_sequences(context, self.options)
        with (
            reader(load_in_full(context, student)) as reading,
            progress(f"Reading: {student.name}", len(sequences)) as bar,
        ):
            return head_outputs(reading, sequences, bar=bar)

    def _patch(
        self,
        receiver: Student,
        sources: Mapping[str, str],
        outputs: Mapping[str, HeadOutputs],
        gains: Mapping[str, Gain],
        context: AnalysisContext,
    ) -> list[Patched]:
        """Patches one receiver from several sources; `sources` are by the trained student whose gain is at stake."""
        sequences = chosen_sequences(context, self.options)
        donors = {trained: patched(outputs[source]) for trained, source in sources.items()}
        found = []
        with reader(load_in_full(context, receiver)) as reading:
            with progress(f"Patching by gradient: {receiver.name}", len(sequences)) as bar:
                screened = screened_effects(reading, sequences, list(donors.values()), bar=bar).numpy()
            for (trained, source), one in zip(sources.items(), screened, strict=True):
                # Into the first student a carrying head brings the gain; out of the trained one it takes it away.
                sign: Sign = gains[trained].sign if source == trained else -gains[trained].sign
                label = f"Patching {source} into {receiver.name}"
                swept = sweep(reading, donors[trained], one, self.options, context, sign=sign, label=label)
                found.append(Patched(trained, source, receiver.name, gains[trained], sign, swept))
        return found


def build(options: PatchingOptions) -> PatchingAnalysis:
    """The analysis."""
    return PatchingAnalysis(options)


def _refuse_unlike(outputs: Mapping[str, HeadOutputs]) -> None:
    shapes = {name: tuple(one.matrices.shape) for name, one in outputs.items()}
    if len(set(shapes.values())) > 1:
        said = ", ".join(f"{name} {layers} x {heads}" for name, (layers, heads, *_) in shapes.items())
        raise KdprobeError(f"The students have different layers and heads ({said}).", "Patching swaps the same heads.")
