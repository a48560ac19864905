"""The analysis `patching`: which heads carry what training gained on the gold solutions.

A head's output in one student replaces its output in another on the same tokens. Patching the trained student's output
into the first student brings part of the gain if the head carries it; the reverse takes part of the gain away.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kdprobe.console import progress
from kdprobe.errors import KdprobeError
from kdprobe.models.load import LoadedModel
from kdprobe.probing.analysis import AnalysisContext, AnalysisResult
from kdprobe.probing.interventions.attribution_patching import screened_effects
from kdprobe.probing.interventions.forward import HeadOutputs, head_outputs, reader
from kdprobe.probing.interventions.gain import Gain
from kdprobe.probing.interventions.options import PatchingOptions
from kdprobe.probing.interventions.patching_report import Patched, patching_result
from kdprobe.probing.interventions.replacement import patched
from kdprobe.probing.interventions.sweep import Sign, chosen_students, load_in_full, sweep_heads
from kdprobe.students.sequence import ProblemSequence
from kdprobe.students.student import Student


class PatchingAnalysis:
    """Moves head outputs between the first student and the others."""

    def __init__(self, options: PatchingOptions) -> None:
        self.options = options

    def run(self, context: AnalysisContext) -> AnalysisResult:
        """Patches between the first student and each of the others.

        Raises:
            KdprobeError: There is no other student, or its heads differ from those of the first.
        """
        first = context.students[0]
        chosen = chosen_students(context.students, self.options.students, "patching")
        students = [student for student in chosen if student.name != first.name]
        if not students:
            raise KdprobeError(
                "Patching moves head outputs between two students, but there is only one.",
                "Add an adapter, or `--against`.",
            )
        sequences = context.sequences[: self.options.problems]
        outputs = {
            student.name: read_heads(load_in_full(context.pool, student), sequences, student.name)
            for student in [first, *students]
        }
        _refuse_different_heads(outputs)
        log_p = {name: output.log_p.cpu().numpy() for name, output in outputs.items()}
        gains = {student.name: Gain(log_p[student.name], log_p[first.name], context.seed) for student in students}

        def patch_into(receiver: Student, sources: Mapping[str, str]) -> list[Patched]:
            return patch(
                load_in_full(context.pool, receiver),
                *(sequences, sources, outputs, gains),
                options=self.options,
                name=receiver.name,
                batch_size=context.batch_size,
                seed=context.seed,
            )

        pairs: list[Patched] = []
        if "first" in self.options.into:
            pairs += patch_into(first, {student.name: student.name for student in students})
        if "student" in self.options.into:
            for student in students:
                pairs += patch_into(student, {student.name: first.name})
        return patching_result(pairs, first.name, gains, sequences, context.seed)


def build(options: PatchingOptions) -> PatchingAnalysis:
    """The analysis."""
    return PatchingAnalysis(options)


def read_heads(student: LoadedModel, sequences: Sequence[ProblemSequence], name: str) -> HeadOutputs:
    """What every head of a student writes on every sequence.

    Args:
        student: The student, merged, in float32.
        sequences: What it reads.
        name: The student's name in progress output.

    Raises:
        KdprobeError: The heads of its architecture are not found.
    """
    with reader(student) as reading, progress(f"Reading: {name}", len(sequences)) as bar:
        return head_outputs(reading, sequences, bar=bar)


def patch(
    receiver: LoadedModel,
    sequences: Sequence[ProblemSequence],
    sources: Mapping[str, str],
    outputs: Mapping[str, HeadOutputs],
    gains: Mapping[str, Gain],
    *,
    options: PatchingOptions,
    name: str,
    batch_size: int,
    seed: int,
) -> list[Patched]:
    """Replaces head outputs of one student by those of others.

    Args:
        receiver: The student whose outputs are replaced, merged, in float32.
        sequences: What it reads.
        sources: Each trained student whose gain is examined, mapped to the student whose outputs are used: itself if
            the receiver is the first student, or the first student if the trained one is the receiver.
        outputs: Each student's head outputs, from `read_heads`.
        gains: Each trained student's gain.
        options: How many heads to run exactly, and what to compare them with.
        name: The receiver's name.
        batch_size: Heads, or sets of heads, per batch.
        seed: Of the random sets.

    Raises:
        KdprobeError: The receiver's heads do not add up to its attention output.
    """
    donors = {trained: patched(outputs[source]) for trained, source in sources.items()}
    pairs = []
    with reader(receiver) as reading:
        with progress(f"Patching by gradient: {name}", len(sequences)) as bar:
            all_screened = screened_effects(reading, sequences, list(donors.values()), bar=bar).numpy()
        for (trained, source), screened in zip(sources.items(), all_screened, strict=True):
            # Patched into the first student, a head that carries the gain reproduces it; replacing that head in the
            # trained student removes it.
            sign: Sign = gains[trained].sign if source == trained else -gains[trained].sign
            sweep = sweep_heads(
                *(reading, sequences, donors[trained], screened, options),
                batch_size=batch_size,
                seed=seed,
                sign=sign,
                label=f"Patching {source} into {name}",
            )
            pairs.append(Patched(trained, source, name, gains[trained], sign, sweep))
    return pairs


def _refuse_different_heads(outputs: Mapping[str, HeadOutputs]) -> None:
    shapes = {name: tuple(output.matrices.shape) for name, output in outputs.items()}
    if len(set(shapes.values())) > 1:
        sizes = ", ".join(f"{name} {layers} x {heads}" for name, (layers, heads, *_) in shapes.items())
        raise KdprobeError(
            f"The students differ in their number of layers or heads ({sizes}).",
            "Patching needs students with the same layers and heads.",
        )
