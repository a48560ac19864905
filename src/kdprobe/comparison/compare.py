"""Compares arms on the problems they share: scores, planned families of paired tests, findings and a verdict.

If strategies are known, the families are those an experiment plans; otherwise all pairs form one family.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from kdprobe.comparison.answers import Outputs
from kdprobe.comparison.arms import Arm, Families, families
from kdprobe.comparison.findings import (
    condition_findings,
    extractor_findings,
    problem_findings,
    prompt_findings,
    share_findings,
)
from kdprobe.comparison.pairing import Rows, pair_up
from kdprobe.comparison.result import AbsentArm, ArmScore, Comparison, Pair
from kdprobe.comparison.scoring import JudgedAnswers, Right, calculated, judge_arms, score_fields, shared_groups
from kdprobe.comparison.step_accuracy import StepAccuracy, StepCounts, step_accuracy, step_accuracy_difference
from kdprobe.comparison.strategy_tests import strategy_pairs
from kdprobe.comparison.text_shares import text_shares
from kdprobe.comparison.verdict import few_problems, verdict
from kdprobe.problems.extractors import Extractor
from kdprobe.stats.bootstrap import mean_interval
from kdprobe.stats.clustered import clustered_test
from kdprobe.stats.mcnemar import PairedTest, paired_test
from kdprobe.stats.p_values import SIGNIFICANT, holm
from kdprobe.stats.power import detectable_difference


def compare(
    arms: Sequence[Arm], extractors: Mapping[str, Extractor], chosen: str = "robust", baseline: str | None = None
) -> Comparison:
    """Compares arms problem by problem: scores, paired tests in planned families, findings, and a verdict.

    Args:
        arms: The arms; their names must be unique. Absent arms count only towards the planned pairs.
        extractors: Extractors by name, including the chosen one; the others are checked for disagreement.
        chosen: The extractor used for the scores.
        baseline: The arm that all others are compared with, instead of the planned pairs; or a run, whose arms those of
            the same strategies are compared with.

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
    pairing = pair_up(arms)
    shared = {(a.name, b.name): pairing.shared(a.name, b.name) for a, b in combinations(arms, 2)}
    judged = judge_arms(arms, extractors, chosen)
    right = {name: {arm: found.right for arm, found in answers.items()} for name, answers in judged.items()}
    planned_rows = {
        (a.name, b.name): pairing.shared(a.name, b.name) for members in planned.values() for a, b in members
    }
    tests = {name: _tests(planned_rows, solved) for name, solved in right.items()}
    steps = {arm.name: calculated(arm.outputs) for arm in arms}
    scores = [_score(arm, chosen, judged[chosen][arm.name], step_accuracy(steps[arm.name])) for arm in arms]
    outputs = {arm.name: arm.outputs for arm in arms}
    findings = [
        *problem_findings(outputs, shared),
        *condition_findings(outputs),
        *prompt_findings(outputs, shared),
        *share_findings({score.name: score for score in scores}),
        *extractor_findings(chosen, judged, tests),
    ]
    pairs = _pairs(planned, planned_rows, right[chosen], tests[chosen], steps)
    findings.extend(few_problems(pairs))
    strategies = strategy_pairs(arms, right[chosen], pairing)
    sentences = verdict(scores, pairs, strategies)
    return Comparison(scores, pairs, strategies, sentences, findings, pairing.sentence, absent)


def _pairs_with(arm: Arm, planned: Families) -> list[str]:
    return list(
        dict.fromkeys(
            f"{a.name} - {b.name}" for members in planned.values() for a, b in members if arm.name in {a.name, b.name}
        )
    )


def _score(arm: Arm, extractor: str, judged: JudgedAnswers, steps: StepAccuracy) -> ArmScore:
    fields = score_fields(arm.outputs, extractor, judged, steps, text_shares(arm.outputs))
    return ArmScore(
        name=arm.name,
        strategy=arm.strategy,
        distiller=arm.distiller,
        seed=arm.seed,
        unprimed=arm.unprimed,
        **fields,
    )


PairedRows = Mapping[tuple[str, str], Sequence[Rows]]
"""For each pair of arms, the rows of the shared problems in the first arm and in the second."""


def _tests(rows: PairedRows, right: Right) -> dict[tuple[str, str], PairedTest]:
    return {(a, b): paired_test(right[a][rows_a], right[b][rows_b]) for (a, b), (rows_a, rows_b) in rows.items()}


def _pairs(
    planned: Families,
    rows: PairedRows,
    right: Right,
    tests: Mapping[tuple[str, str], PairedTest],
    steps: Mapping[str, StepCounts],
) -> list[Pair]:
    pairs = []
    for family, members in planned.items():
        family_tests = [tests[a.name, b.name] for a, b in members]
        for (a, b), test, p_holm in zip(members, family_tests, holm([test.p for test in family_tests]), strict=True):
            rows_a, rows_b = rows[a.name, b.name]
            groups = shared_groups(a.outputs, rows_a)
            differences = _log_p_differences(a.outputs, b.outputs, rows_a, rows_b)
            discordant = (test.only_a + test.only_b) / test.n
            pairs.append(
                Pair(
                    family=family,
                    a=a.name,
                    b=b.name,
                    test=test,
                    p_holm=p_holm,
                    detectable=detectable_difference(test.n, discordant, SIGNIFICANT / len(members)),
                    clustered=clustered_test(right[a.name][rows_a], right[b.name][rows_b], groups) if groups else None,
                    log_p_difference=None if differences is None else float(differences.mean()),
                    log_p_interval=None if differences is None else mean_interval(differences),
                    arithmetic=step_accuracy_difference(steps[a.name][rows_a], steps[b.name][rows_b]),
                )
            )
    return pairs


def _log_p_differences(a: Outputs, b: Outputs, rows_a: Rows, rows_b: Rows) -> NDArray[np.float64] | None:
    """The difference in log p(gold value) on every shared problem."""
    if a.log_p_gold_value is None or b.log_p_gold_value is None:
        return None
    differences: NDArray[np.float64] = np.asarray(a.log_p_gold_value)[rows_a] - np.asarray(b.log_p_gold_value)[rows_b]
    return differences
