"""The analysis `patching`: which heads carry what training gained on the gold solutions.

A head's output in one student replaces its output in another on the same tokens. Patching the trained student's output
into the first student brings part of the gain if the head carries it; the reverse takes part of the gain away.
"""

from __future__ import annotations

from collections.abc import Sequence

from kdprobe.console import progress
from kdprobe.errors import KdprobeError
from kdprobe.models.anatomy import anatomy
from kdprobe.models.load import LoadedModel
from kdprobe.probing.analysis import AnalysisContext, AnalysisResult
from kdprobe.probing.interventions.forward import HeadOutputs, head_outputs, reader
from kdprobe.probing.interventions.gain import Gain
from kdprobe.probing.interventions.options import INTO, Into, PatchingOptions
from kdprobe.probing.interventions.patching_report import Patched, patching_result
from kdprobe.probing.interventions.replacement import patched
from kdprobe.probing.interventions.sweep import Sign, Sweep, chosen_students, load_in_full, sweep_heads
from kdprobe.students.pool import StudentPool
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
        _refuse_different_heads(context.pool, [first, *students])
        own = read_heads(load_in_full(context.pool, first), sequences, first.name)
        # One student after the other, so that the outputs of no more than two are in memory.
        found = [self._patch(context, sequences, first, own, student) for student in students]
        pairs = [pairs[into] for into in INTO for _, pairs in found if into in pairs]
        gains = {student.name: gain for student, (gain, _) in zip(students, found, strict=True)}
        return patching_result(pairs, first.name, gains, sequences, context.seed)

    def _patch(
        self,
        context: AnalysisContext,
        sequences: Sequence[ProblemSequence],
        first: Student,
        own: HeadOutputs,
        student: Student,
    ) -> tuple[Gain, dict[Into, Patched]]:
        """A student's gain, and its heads' outputs patched into the first student and the other way round."""
        theirs = read_heads(load_in_full(context.pool, student), sequences, student.name)
        gain = Gain.between(theirs.log_p.numpy(), own.log_p.numpy())
        ways: dict[Into, tuple[Student, Student, HeadOutputs]] = {
            "first": (first, student, theirs),
            "student": (student, first, own),
        }
        pairs: dict[Into, Patched] = {}
        for into, (receiver, source, outputs) in ways.items():
            if into in self.options.into:
                # Patched into the first student, a head that carries the gain reproduces it; replacing that head in the
                # trained student removes it.
                sign: Sign = gain.sign if into == "first" else -gain.sign
                sweep = patch(
                    *(load_in_full(context.pool, receiver), sequences, outputs, self.options),
                    batch_size=context.batch_size,
                    seed=context.seed,
                    sign=sign,
                    label=f"{source.name} into {receiver.name}",
                )
                pairs[into] = Patched(student.name, source.name, receiver.name, gain, sign, sweep)
        return gain, pairs


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
    source: HeadOutputs,
    options: PatchingOptions,
    *,
    batch_size: int,
    seed: int,
    sign: Sign,
    label: str,
) -> Sweep:
    """Replaces head outputs of one student by those of another.

    Args:
        receiver: The student whose outputs are replaced, merged, in float32.
        sequences: What it reads.
        source: The other student's head outputs, from `read_heads`.
        options: How many heads to run exactly, and what to compare them with.
        batch_size: Heads, or sets of heads, per batch.
        seed: Of the random sets.
        sign: The direction in which a head that carries gain moves the receiver.
        label: The students' names in progress output.

    Raises:
        KdprobeError: The receiver's heads do not add up to its attention output.
    """
    with reader(receiver) as reading:
        return sweep_heads(
            *(reading, sequences, patched(source), options),
            batch_size=batch_size,
            seed=seed,
            sign=sign,
            screening=f"Patching by gradient: {label}",
            label=f"Patching {label}",
        )


def _refuse_different_heads(pool: StudentPool, students: Sequence[Student]) -> None:
    shapes = {}
    for student in students:
        parts = anatomy(load_in_full(pool, student).model)
        shapes[student.name] = (len(parts), *parts.output_matrix(0).shape)
    if len(set(shapes.values())) > 1:
        sizes = ", ".join(f"{name} {layers} x {heads}" for name, (layers, heads, *_) in shapes.items())
        raise KdprobeError(
            f"The students differ in their number of layers or heads ({sizes}).",
            "Patching needs students with the same layers and heads.",
        )
