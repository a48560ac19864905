"""The analysis `priming_gain`: does what priming changes in the teacher predict what it changes in the student?

Both are changes of log p(gold) of the same test problems: of the teacher between its bare and its primed prompt, and
between the students trained on its answers, both of which read the bare question.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kdprobe.errors import KdprobeError
from kdprobe.probing.analysis import AnalysisContext, AnalysisResult
from kdprobe.probing.options import PrimingGainOptions
from kdprobe.probing.priming.gain.figures import figures
from kdprobe.probing.priming.gain.measured import Gain, gains_of
from kdprobe.probing.priming.gain.predicted import MEASURES, GoldLogP, TeacherLogP, teacher_log_p
from kdprobe.probing.priming.gain.report import statements, summary
from kdprobe.probing.priming.gain.tables import gain_tables
from kdprobe.probing.priming.reading import teacher_reading
from kdprobe.probing.priming.report import unreadable
from kdprobe.probing.priming.teaching import Priming
from kdprobe.problems.problem import Problem


class PrimingGainAnalysis:
    """Predicted against realised changes of log p(gold) over test problems, within each strategy."""

    def __init__(self, options: PrimingGainOptions) -> None:
        self.options = options

    def run(self, context: AnalysisContext) -> AnalysisResult:
        """Compares every strategy with the unprimed one; where that is impossible, the result says why."""
        teaching = context.teaching
        assert teaching is not None  # noqa: S101 - `needs` says so
        unprimed = next((priming.strategy for priming in teaching.primings if priming.unprimed), None)
        primed = [priming for priming in teaching.primings if not priming.unprimed]
        if teaching.primings and (unprimed is None or not primed):
            lacking = "gives the teacher the bare question" if primed else "primes the teacher"
            return AnalysisResult({}, statements=[f"No strategy {lacking}, so no gain from priming can be measured."])
        problems = context.problems[: self.options.problems]
        try:
            with teacher_reading(teaching) as teacher:
                log_p = teacher_log_p(teacher, problems, primed)
        except KdprobeError as error:
            return AnalysisResult({}, statements=[unreadable("result for the priming gain", error)])
        assert unprimed is not None  # noqa: S101 - without strategies, the teacher cannot be read
        gains = [gain for priming in primed for gain in _gains(context, priming, unprimed, problems, log_p)]
        return AnalysisResult(
            tables=gain_tables(gains, unprimed, log_p) if gains else {},
            figures=figures(gains),
            statements=statements(gains, unprimed),
            summary=summary(gains, unprimed),
        )


def build(options: PrimingGainOptions) -> PrimingGainAnalysis:
    """The analysis."""
    return PrimingGainAnalysis(options)


def _gains(
    context: AnalysisContext, priming: Priming, unprimed: str, problems: Sequence[Problem], log_p: TeacherLogP
) -> list[Gain]:
    of_arm = {
        arm: {
            student.seed: (student.name, _gold_log_p(context, student.name, problems))
            for student in context.students
            if student.arm == arm and student.name in context.records
        }
        for arm in (priming.strategy, unprimed)
    }
    return gains_of(
        priming.strategy,
        sees_gold=priming.sees_gold,
        problems=problems,
        predicted={measure: log_p.change(priming.strategy, measure) for measure in MEASURES},
        students=of_arm[priming.strategy],
        references={seed: found for seed, (_, found) in of_arm[unprimed].items()},
    )


def _gold_log_p(context: AnalysisContext, student: str, problems: Sequence[Problem]) -> GoldLogP:
    """A student's log p(gold) in the evaluation."""
    records = {record["id"]: record for record in context.records[student]}
    return {
        "value": np.array([records[problem.id]["log_p_gold_value"] for problem in problems]),
        "solution": np.array([records[problem.id]["log_p_gold_solution"] for problem in problems]),
    }
