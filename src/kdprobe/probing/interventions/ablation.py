"""The analysis `ablation`: which heads a student relies on when it reads the gold solution."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kdprobe.console import progress
from kdprobe.models.load import LoadedModel
from kdprobe.probing.analysis import AnalysisContext, AnalysisResult
from kdprobe.probing.attention.moved import ranked
from kdprobe.probing.figures import signed_maps
from kdprobe.probing.interventions.ablation_report import ablation_statements, ablation_summary
from kdprobe.probing.interventions.accuracy import accuracy_sentences, accuracy_without_heads
from kdprobe.probing.interventions.forward import head_outputs, reader
from kdprobe.probing.interventions.head_evidence import head_changes, head_evidence
from kdprobe.probing.interventions.options import AblationOptions
from kdprobe.probing.interventions.random_control import control_figure, random_control
from kdprobe.probing.interventions.replacement import ablated
from kdprobe.probing.interventions.sweep import Array, Sign, Sweep, chosen_students, load_in_full, sweep_heads
from kdprobe.probing.interventions.tables import effect_table, joined, selection_table, set_table
from kdprobe.students.sequence import ProblemSequence

_WORSE: Sign = -1
"""Heads whose ablation lowers log p most come first."""
_SETS = {"top": "top heads", "moved": "attention diverged most"}
"""The sets of heads, as figures name them."""


class AblationAnalysis:
    """Ablates heads: all of them to first order, the top ones exactly, and these together against random sets."""

    def __init__(self, options: AblationOptions) -> None:
        self.options = options

    def run(self, context: AnalysisContext) -> AnalysisResult:
        """Ablates heads of every student; for trained students also, exactly, those whose attention diverged most."""
        first, pool, seed = context.students[0], context.pool, context.seed
        students = chosen_students(context.students, self.options.students, "ablation")
        sequences = context.sequences[: self.options.problems]
        trained = [student for student in students if student.name != first.name]
        changes = head_changes(context.bridges, first, trained, sequences, pool, batch_size=context.batch_size)
        sweeps = {
            student.name: ablate(
                load_in_full(pool, student),
                sequences,
                self.options,
                name=student.name,
                batch_size=context.batch_size,
                seed=seed,
                moved=changes.patterns.get(student.name),
            )
            for student in students
        }
        evidence = head_evidence(trained, changes, sweeps)
        controls = {
            name: {kind: random_control(sweep, kind, _WORSE, seed) for kind in sweep.sets if kind != "every"}
            for name, sweep in sweeps.items()
        }
        tables = {
            "ablation": joined([effect_table(name, sweep, sequences, seed) for name, sweep in sweeps.items()]),
            "ablation_sets": joined([set_table(name, sweep, seed) for name, sweep in sweeps.items()]),
            "ablation_selection": joined([selection_table(name, sweep.selection) for name, sweep in sweeps.items()]),
            "head_evidence": evidence.table,
            "head_correlations": evidence.correlations,
        }
        statements = [
            *ablation_statements(sweeps, controls, self.options, first=first.name, seed=seed),
            *evidence.statements,
        ]
        if self.options.accuracy:
            unseen = context.problems[len(sequences) :]
            tables["accuracy"] = accuracy_without_heads(
                *(students, unseen or context.problems, self.options, sweeps, pool),
                batch_size=context.batch_size,
                seed=seed,
            )
            statements += accuracy_sentences(tables["accuracy"])
            if not unseen:
                statements.append("The top heads were selected on these same problems.")
        screened = {
            f"Ablating each head (first-order estimate): log p(gold solution) of {name}": screened.mean(axis=0)
            for name, screened in ((name, sweep.screened[..., 0]) for name, sweep in sweeps.items())
        }
        figures = [
            *signed_maps(screened, "nats"),
            control_figure(
                "Ablating heads together, compared with random sets of the same size",
                {
                    f"{name}, {_SETS[kind]}": control
                    for name, kinds in controls.items()
                    for kind, control in kinds.items()
                },
            ),
            *evidence.figures,
        ]
        return AnalysisResult(tables, figures, statements, ablation_summary(sweeps, controls))


def build(options: AblationOptions) -> AblationAnalysis:
    """The analysis."""
    return AblationAnalysis(options)


def ablate(
    student: LoadedModel,
    sequences: Sequence[ProblemSequence],
    options: AblationOptions,
    *,
    name: str,
    batch_size: int,
    seed: int,
    moved: Array | None = None,
) -> Sweep:
    """Ablates the heads of one student.

    Args:
        student: The student, merged, in float32.
        sequences: What it reads.
        options: What replaces a head, how many heads to compute exactly, and what to compare them with.
        name: The student's name in progress output.
        batch_size: Heads, or sets of heads, per batch.
        seed: Seed of the random sets.
        moved: How much training changed each head's attention, `[layer, head]`, if known; the heads that changed most
            are also ablated exactly.

    Raises:
        KdprobeError: The heads of its architecture are not found, or do not add up to the output of its attention.
    """
    with reader(student) as reading:
        with progress(f"Reading: {name}", len(sequences)) as bar:
            donor = ablated(head_outputs(reading, sequences, bar=bar), options.replacement)
        return sweep_heads(
            *(reading, sequences, donor, options),
            batch_size=batch_size,
            seed=seed,
            sign=_WORSE,
            screening=f"Ablating by gradient: {name}",
            label=f"Ablating: {name}",
            # Attention that did not change has no order of change.
            moved=ranked(moved) if moved is not None and np.any(moved) else [],
        )
