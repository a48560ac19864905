"""Compares arms on the problems they share: scores, planned families of paired tests, findings and a verdict.

Arms are paired by problem. If there are several answers to each, their means are compared.

If strategies are known, the families are those an experiment plans; otherwise all pairs form one family.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdprobe.comparison.arms import Arm, Families, families
from kdprobe.comparison.findings import (
    condition_findings,
    extractor_findings,
    problem_findings,
    prompt_findings,
    share_findings,
)
from kdprobe.comparison.judging import JudgedAnswers, Right, judge_arms
from kdprobe.comparison.leaks.audit import leak_audit
from kdprobe.comparison.leaks.findings import leak_findings, leak_sentences
from kdprobe.comparison.leaks.teaching import Teaching
from kdprobe.comparison.pairing import Rows, pair_up
from kdprobe.comparison.result import AbsentArm, ArmScore, Comparison, Pair
from kdprobe.comparison.samples.at_k import AtProblems, at_k_differences, at_problems
from kdprobe.comparison.samples.by_problem import ByProblem, by_problem
from kdprobe.comparison.scoring import Examined, examined, score_fields, shared_groups
from kdprobe.comparison.step_accuracy import StepCounts, step_accuracy_difference
from kdprobe.comparison.strategy_tests import strategy_pairs
from kdprobe.comparison.verdict import few_problems, verdict
from kdprobe.problems.extractors import Extractor
from kdprobe.stats.bootstrap import mean_interval
from kdprobe.stats.clustered import clustered_test
from kdprobe.stats.mcnemar import PairedTest, paired_test
from kdprobe.stats.p_values import SIGNIFICANT, holm
from kdprobe.stats.power import detectable_difference, detectable_mean_difference
from kdprobe.stats.samples.means import paired_means_test


def compare(
    arms: Sequence[Arm],
    extractors: Mapping[str, Extractor],
    chosen: str = "robust",
    baseline: str | None = None,
    *,
    teaching: Mapping[str, Teaching] | None = None,
) -> Comparison:
    """Compares arms problem by problem: scores, paired tests in planned families, findings, and a verdict.

    Args:
        arms: The arms; their names must be unique. Absent arms count only towards the planned pairs.
        extractors: Extractors by name, including the chosen one; the others are checked for disagreement.
        chosen: The extractor used for the scores.
        baseline: The arm that all others are compared with, instead of the planned pairs; or a run, whose arms those of
            the same strategies are compared with.
        teaching: What teachers read and wrote, by strategy, where it is known.

    Raises:
        KdprobeError: See `pair_up` and `judge_arms`.
    """
    everything = families(arms, baseline)
    absent = [AbsentArm(arm.name, arm.absent, _pairs_with(arm, everything)) for arm in arms if arm.absent]
    arms = [arm for arm in arms if not arm.absent]
    if not arms:
        return Comparison([], [], [], verdict([], [], []), absent=absent)
    present = {name: [(a, b) for a, b in members if not (a.absent or b.absent)] for name, members in everything.items()}
    planned = {name: members for name, members in present.items() if members}
    grouped = {arm.name: by_problem(arm.outputs) for arm in arms}
    by_row = [replace(arm, outputs=grouped[arm.name].first) for arm in arms]
    pairing = pair_up(by_row)
    shared = {(a.name, b.name): pairing.shared(a.name, b.name) for a, b in combinations(arms, 2)}
    judged = judge_arms(arms, extractors, chosen)
    right = {
        name: {arm: grouped[arm].means(found.right) for arm, found in answers.items()}
        for name, answers in judged.items()
    }
    planned_rows = {
        (a.name, b.name): pairing.shared(a.name, b.name) for members in planned.values() for a, b in members
    }
    tests = {name: _tests(planned_rows, solved, grouped) for name, solved in right.items()}
    answers = {arm.name: examined(arm.outputs, grouped[arm.name]) for arm in arms}
    solved = {name: _solved(each, judged[chosen][name], right[chosen][name]) for name, each in answers.items()}
    scores = [_score(arm, chosen, judged[chosen][arm.name], answers[arm.name], solved[arm.name].at) for arm in arms]
    outputs = {arm.name: arm.outputs for arm in by_row}
    findings = [
        *problem_findings(outputs, shared),
        *condition_findings(outputs),
        *prompt_findings(outputs, shared),
        *share_findings({score.name: score for score in scores}),
        *extractor_findings(chosen, judged, tests),
    ]
    pairs = _pairs(planned, planned_rows, tests[chosen], solved)
    leaks = leak_audit(by_row, planned, pairing, teaching)
    findings.extend([*few_problems(pairs), *leak_findings(leaks)])
    samples = {name: each.samples for name, each in grouped.items()}
    strategies = strategy_pairs(by_row, right[chosen], pairing, samples)
    sentences = [*verdict(scores, pairs, strategies), *leak_sentences(leaks)]
    return Comparison(scores, pairs, strategies, sentences, findings, pairing.sentence, absent, leaks=leaks)


def _pairs_with(arm: Arm, planned: Families) -> list[str]:
    return list(
        dict.fromkeys(
            f"{a.name} - {b.name}" for members in planned.values() for a, b in members if arm.name in {a.name, b.name}
        )
    )


def _score(arm: Arm, extractor: str, judged: JudgedAnswers, answers: Examined, at: AtProblems) -> ArmScore:
    return ArmScore(
        name=arm.name,
        strategy=arm.strategy,
        distiller=arm.distiller,
        seed=arm.seed,
        unprimed=arm.unprimed,
        **score_fields(answers, extractor, judged, at),
    )


PairedRows = Mapping[tuple[str, str], Sequence[Rows]]
"""For each pair of arms, the rows of the shared problems in the first arm and in the second."""


def _tests(rows: PairedRows, right: Right, grouped: Mapping[str, ByProblem]) -> dict[tuple[str, str], PairedTest]:
    return {
        (a, b): _test(right[a][rows_a], right[b][rows_b], _denominator(grouped[a], grouped[b]))
        for (a, b), (rows_a, rows_b) in rows.items()
    }


def _test(a: NDArray[Any], b: NDArray[Any], denominator: int) -> PairedTest:
    return paired_test(a, b) if a.dtype == b.dtype == bool else paired_means_test(a, b, denominator)


def _denominator(a: ByProblem, b: ByProblem) -> int:
    """A common denominator of the means of two arms."""
    return math.lcm(a.denominator, b.denominator)


@dataclass(frozen=True)
class _Solved:
    """One arm by problem, each with the mean over its answers.

    Attributes:
        grouped: Its answers by problem.
        right: Whether each problem is solved, or the share of correct answers.
        steps: Calculation steps and correct ones, `[problem, 2]`.
        at: pass@k and maj@k.
        log_p: log p(gold value), or `None`.
    """

    grouped: ByProblem
    right: NDArray[Any]
    steps: StepCounts
    at: AtProblems
    log_p: NDArray[np.float64] | None


def _solved(answers: Examined, judged: JudgedAnswers, right: NDArray[Any]) -> _Solved:
    grouped, log_p = answers.grouped, answers.outputs.log_p_gold_value
    return _Solved(
        grouped,
        right,
        grouped.sums(answers.steps),
        at_problems(grouped, judged.right, judged.votes),
        None if log_p is None else grouped.means(np.asarray(log_p)),
    )


def _pairs(
    planned: Families,
    rows: PairedRows,
    tests: Mapping[tuple[str, str], PairedTest],
    solved: Mapping[str, _Solved],
) -> list[Pair]:
    pairs = []
    for family, members in planned.items():
        family_tests = [tests[a.name, b.name] for a, b in members]
        for (a, b), test, p_holm in zip(members, family_tests, holm([test.p for test in family_tests]), strict=True):
            held = rows_a, rows_b = rows[a.name, b.name]
            of_a, of_b = solved[a.name], solved[b.name]
            left, other = of_a.right[rows_a], of_b.right[rows_b]
            groups = shared_groups(of_a.grouped.first, rows_a)
            denominator = _denominator(of_a.grouped, of_b.grouped)
            differences = None if of_a.log_p is None or of_b.log_p is None else of_a.log_p[rows_a] - of_b.log_p[rows_b]
            pairs.append(
                Pair(
                    family=family,
                    a=a.name,
                    b=b.name,
                    test=test,
                    p_holm=p_holm,
                    detectable=_detectable(test, left, other, SIGNIFICANT / len(members)),
                    clustered=clustered_test(left, other, groups, denominator) if groups else None,
                    log_p_difference=None if differences is None else float(differences.mean()),
                    log_p_interval=None if differences is None else mean_interval(differences),
                    arithmetic=step_accuracy_difference(of_a.steps[rows_a], of_b.steps[rows_b]),
                    samples=sorted({of_a.grouped.samples, of_b.grouped.samples}),
                    at_k=at_k_differences(of_a.at, of_b.at, held),
                )
            )
    return pairs


def _detectable(test: PairedTest, a: NDArray[Any], b: NDArray[Any], alpha: float) -> float | None:
    """The smallest true difference that the test would have found; see `Pair`."""
    split = test.only_a + test.only_b
    if a.dtype == b.dtype == bool:
        return detectable_difference(test.n, split / test.n, alpha)
    deviation = float(np.sqrt(np.mean((np.asarray(a, dtype=float) - b) ** 2)))
    return detectable_mean_difference(split, test.n, deviation, alpha)
