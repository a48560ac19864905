"""The analysis `ablation`: which heads a student leans on when it reads the gold solution."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from kdprobe.console import progress
from kdprobe.probing.analysis import AnalysisContext, AnalysisResult, Figure, Need
from kdprobe.probing.causes.accuracy import accuracy_sentences, accuracy_without_heads
from kdprobe.probing.causes.cause_figures import control_figure
from kdprobe.probing.causes.cause_tables import effect_table, set_table
from kdprobe.probing.causes.control import Control, control
from kdprobe.probing.causes.evidence import Evidence, head_evidence
from kdprobe.probing.causes.options import AblationOptions
from kdprobe.probing.causes.reading import head_outputs, reader
from kdprobe.probing.causes.replacement import ablated
from kdprobe.probing.causes.screen import screened_effects
from kdprobe.probing.causes.sweep import Sign, Sweep, chosen_sequences, chosen_students, load_in_full, sweep
from kdprobe.probing.figures import change_maps
from kdprobe.probing.resampling import means_over_problems
from kdprobe.students.student import Student

_NAMED = 3
_WORSE: Sign = -1
"""Heads whose loss costs most come first."""


class AblationAnalysis:
    """Takes heads away: all to first order, the first of them for real, those together against random sets."""

    needs: frozenset[Need] = frozenset({"students", "problems"})

    def __init__(self, options: AblationOptions) -> None:
        self.options = options

    def run(self, context: AnalysisContext) -> AnalysisResult:
        """Goes through the students, and puts the effects of trained ones next to how far their heads changed."""
        students = chosen_students(context.students, self.options.students)
        sequences = chosen_sequences(context, self.options)
        swept = {student.name: self._sweep(student, context) for student in students}
        controls = {name: control(one, _WORSE, context.seed) for name, one in swept.items()}
        evidence = head_evidence(context, students, swept, sequences)
        tables = {
            "ablation": _joined([effect_table(name, one, sequences, context.seed) for name, one in swept.items()]),
            "ablation_sets": _joined([set_table(name, one, context.seed) for name, one in swept.items()]),
            "head_evidence": evidence.table,
            "association": evidence.association,
        }
        findings = [*_findings(swept, controls, self.options, context), *evidence.findings]
        if self.options.accuracy:
            tables["accuracy"] = accuracy_without_heads(context, self.options, swept)
            findings += accuracy_sentences(tables["accuracy"])
        return AnalysisResult(tables, _figures(swept, controls, evidence), findings, _summary(swept, controls))

    def _sweep(self, student: Student, context: AnalysisContext) -> Sweep:
        sequences = chosen_sequences(context, self.options)
        with reader(load_in_full(student)) as reading:
            with progress(f"Reading: {student.name}", len(sequences)) as bar:
                donor = ablated(head_outputs(reading, sequences, bar=bar), self.options.replacement)
            with progress(f"Ablating by gradient: {student.name}", len(sequences)) as bar:
                screened = screened_effects(reading, sequences, [donor], bar=bar)[0].numpy()
            label = f"Ablating: {student.name}"
            return sweep(reading, donor, screened, self.options, context, sign=_WORSE, label=label)


def build(options: AblationOptions) -> AblationAnalysis:
    """The analysis."""
    return AblationAnalysis(options)


def _joined(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    table: pd.DataFrame = pd.concat(frames, ignore_index=True)
    return table


def _figures(swept: Mapping[str, Sweep], controls: Mapping[str, Control], evidence: Evidence) -> list[Figure]:
    screened = {name: one.screened[..., 0].mean(axis=0) for name, one in swept.items()}
    return [
        *change_maps(screened, "Ablating each head, to first order: log p(gold solution) of {arm}", "nats"),
        control_figure("Ablating the top heads together, and random sets of as many", controls),
        *evidence.figures,
    ]


def _findings(
    swept: Mapping[str, Sweep], controls: Mapping[str, Control], options: AblationOptions, context: AnalysisContext
) -> list[str]:
    by = "their mean output over the problems" if options.replacement == "mean" else "nothing"
    problems = len(chosen_sequences(context, options))
    method = (
        f"Ablation: heads are replaced by {by}, effects are changes of log p(gold solution) in nats over {problems} "
        "problems, with 95 % intervals over problems. All heads were screened by gradient, the first ones run exactly."
    )
    sentences = [method]
    for name, one in swept.items():
        means = means_over_problems(one.exact[..., 0], context.seed)
        order = np.argsort(means.value)
        costly = [
            place for place in order[:_NAMED] if means.high[place] < 0 or (problems == 1 and means.value[place] < 0)
        ]
        named = "; ".join(
            f"layer {layer}, head {head} ({means.value[place]:+.2f}"
            + (f", {means.low[place]:+.2f} to {means.high[place]:+.2f})" if problems > 1 else ")")
            for place in costly
            for layer, head in [one.heads[place]]
        )
        lead = (
            f"the heads that cost most are {named}" if costly else "no single head costs anything beyond its interval"
        )
        sentences.append(f"{name}: of the {len(one.heads)} run exactly, {lead}. {controls[name].sentence()}")
    return sentences


def _summary(swept: Mapping[str, Sweep], controls: Mapping[str, Control]) -> dict[str, Any]:
    students = {
        name: {
            "heads": [
                {"layer": layer, "head": head, "effect": float(effect)}
                for (layer, head), effect in zip(one.heads, one.exact[..., 0].mean(axis=0), strict=True)
            ],
            "together": controls[name].top,
            "random": controls[name].random.tolist(),
            "p": controls[name].p,
        }
        for name, one in swept.items()
    }
    return {"students": students}
