"""The analysis `ablation`: which heads a student leans on when it reads the gold solution."""

from __future__ import annotations

import numpy as np
import pandas as pd

from kdprobe.console import progress
from kdprobe.probing.analysis import AnalysisContext, AnalysisResult, Need
from kdprobe.probing.attention.moved import ranked
from kdprobe.probing.figures import signed_maps
from kdprobe.probing.interventions.ablation_report import ablation_statements, ablation_summary
from kdprobe.probing.interventions.accuracy import accuracy_sentences, accuracy_without_heads
from kdprobe.probing.interventions.attribution_patching import screened_effects
from kdprobe.probing.interventions.figures import control_figure
from kdprobe.probing.interventions.forward import head_outputs, reader
from kdprobe.probing.interventions.head_evidence import head_evidence, pattern_changes
from kdprobe.probing.interventions.options import AblationOptions
from kdprobe.probing.interventions.random_control import control
from kdprobe.probing.interventions.replacement import ablated
from kdprobe.probing.interventions.sweep import (
    Array,
    Sign,
    Sweep,
    chosen_sequences,
    chosen_students,
    load_in_full,
    sweep,
)
from kdprobe.probing.interventions.tables import effect_table, set_table
from kdprobe.students.student import Student

_WORSE: Sign = -1
"""Heads whose loss costs most come first."""


class AblationAnalysis:
    """Takes heads away: all to first order, the first of them for real, those together against random sets."""

    needs: frozenset[Need] = frozenset({"students", "problems"})

    def __init__(self, options: AblationOptions) -> None:
        self.options = options

    def run(self, context: AnalysisContext) -> AnalysisResult:
        """Goes through the students; of trained ones, the heads that moved most are taken away for real, too."""
        students = chosen_students(context.students, self.options.students, "ablation")
        sequences = chosen_sequences(context, self.options)
        moved = pattern_changes(context, students, sequences)
        swept = {one.name: self._sweep(one, moved.get(one.name), context) for one in students}
        evidence = head_evidence(context, students, moved, swept)
        controls = {
            name: {kind: control(one, kind, _WORSE, context.seed) for kind in one.sets if kind != "every"}
            for name, one in swept.items()
        }
        tables = {
            "ablation": _joined([effect_table(name, one, sequences, context.seed) for name, one in swept.items()]),
            "ablation_sets": _joined([set_table(name, one, context.seed) for name, one in swept.items()]),
            "head_evidence": evidence.table,
            "head_correlations": evidence.correlations,
        }
        statements = [*ablation_statements(swept, controls, self.options, context.seed), *evidence.statements]
        if self.options.accuracy:
            tables["accuracy"] = accuracy_without_heads(context, self.options, swept)
            statements += accuracy_sentences(tables["accuracy"])
        screened = {
            f"Ablating each head, to first order: log p(gold solution) of {name}": one.screened[..., 0].mean(axis=0)
            for name, one in swept.items()
        }
        figures = [
            *signed_maps(screened, "nats"),
            control_figure(
                "Ablating heads together, and random sets of as many",
                {f"{name}, {kind}": one for name, kinds in controls.items() for kind, one in kinds.items()},
            ),
            *evidence.figures,
        ]
        return AnalysisResult(tables, figures, statements, ablation_summary(swept, controls))

    def _sweep(self, student: Student, moved: Array | None, context: AnalysisContext) -> Sweep:
        sequences = chosen_sequences(context, self.options)
        with reader(load_in_full(context, student)) as reading:
            with progress(f"Reading: {student.name}", len(sequences)) as bar:
                donor = ablated(head_outputs(reading, sequences, bar=bar), self.options.replacement)
            with progress(f"Ablating by gradient: {student.name}", len(sequences)) as bar:
                screened = screened_effects(reading, sequences, [donor], bar=bar)[0].numpy()
            # Attention that did not change has no order of change.
            most_moved = ranked(moved) if moved is not None and np.any(moved) else []
            return sweep(
                *(reading, donor, screened, self.options, context),
                sign=_WORSE,
                label=f"Ablating: {student.name}",
                moved=most_moved,
            )


def build(options: AblationOptions) -> AblationAnalysis:
    """The analysis."""
    return AblationAnalysis(options)


def _joined(frames: list[pd.DataFrame]) -> pd.DataFrame:
    table: pd.DataFrame = pd.concat(frames, ignore_index=True)
    return table
