"""Arms on the problems they share: scores, planned families of paired tests, findings, a verdict.

Where strategies are known, the families are those that an experiment plans; where not, all pairs are one family.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from kdprobe.comparison.arms import (
    Arm,
    Families,
    families,
    refuse_doubles,
    shared_groups,
    shared_keys,
    with_common_keys,
)
from kdprobe.comparison.findings import (
    condition_findings,
    extractor_findings,
    problem_findings,
    share_findings,
)
from kdprobe.comparison.result import ArmScore, Comparison, Pair
from kdprobe.comparison.scoring import calculated, judge_arms, score_fields
from kdprobe.comparison.step_accuracy import (
    StepAccuracy,
    StepAccuracyDifference,
    step_accuracy,
    step_accuracy_difference,
)
from kdprobe.comparison.strategy_tests import strategy_pairs
from kdprobe.comparison.verdict import verdict
from kdprobe.problems.arithmetic import Arithmetic
from kdprobe.problems.correctness import Judged
from kdprobe.problems.extractors import Extractor
from kdprobe.stats.bootstrap import mean_interval
from kdprobe.stats.clustered import ClusterTest, clustered_test
from kdprobe.stats.mcnemar import PairedTest, paired_test
from kdprobe.stats.p_values import SIGNIFICANT, holm
from kdprobe.stats.power import detectable_difference


def compare(arms: Sequence[Arm], extractors: Mapping[str, Extractor], chosen: str = "robust") -> Comparison:
    """Compares arms problem by problem: scores, paired tests in planned families, findings, and a verdict.

    Args:
        arms: With names that differ.
        extractors: By name, the chosen one among them; the others are looked at for disagreement.
        chosen: The extractor that decides.

    Raises:
        KdprobeError: A problem occurs twice in an arm, or two arms share none.
    """
    arms = with_common_keys(arms)
    for arm in arms:
        refuse_doubles(arm)
    shared = {(a.name, b.name): shared_keys(a, b) for a, b in combinations(arms, 2)}
    planned = families(arms)
    judged = judge_arms(arms, extractors, chosen)
    right = {name: _right(arms, answers) for name, answers in judged.items()}
    tests = {name: _tests(planned, solved) for name, solved in right.items()}
    steps = {arm.name: calculated(arm.outputs) for arm in arms}
    scores = [_score(arm, chosen, judged[chosen][arm.name], step_accuracy(steps[arm.name])) for arm in arms]
    outputs = {arm.name: arm.outputs for arm in arms}
    findings = [
        *problem_findings(outputs, shared),
        *condition_findings(outputs),
        *share_findings({score.name: score for score in scores}),
        *extractor_findings(chosen, judged, tests),
    ]
    pairs = _pairs(planned, right[chosen], tests[chosen], steps)
    strategies = strategy_pairs(arms, right[chosen])
    return Comparison(scores, pairs, strategies, verdict(scores, pairs, strategies), findings)


def _score(arm: Arm, extractor: str, judged: Sequence[Judged], steps: StepAccuracy) -> ArmScore:
    fields = score_fields(arm.outputs, extractor, judged, steps)
    return ArmScore(
        name=arm.name,
        strategy=arm.strategy,
        distiller=arm.distiller,
        seed=arm.seed,
        unprimed=arm.unprimed,
        **fields,
    )


def _right(arms: Sequence[Arm], judged: Mapping[str, Sequence[Judged]]) -> dict[str, dict[str, bool]]:
    return {
        arm.name: {key: answer.right for key, answer in zip(arm.outputs.keys, judged[arm.name], strict=True)}
        for arm in arms
    }


Solved = Mapping[str, Mapping[str, bool]]
"""Arm to problem to whether it was solved."""


def _tests(planned: Families, right: Solved) -> dict[tuple[str, str], PairedTest]:
    return {(a.name, b.name): paired_test(*_aligned(a, b, right)) for members in planned.values() for a, b in members}


def _aligned(a: Arm, b: Arm, right: Solved) -> tuple[list[bool], list[bool]]:
    """Whether each solved the problems that both have, in the order of a."""
    keys = [key for key in right[a.name] if key in right[b.name]]
    return [right[a.name][key] for key in keys], [right[b.name][key] for key in keys]


def _pairs(
    planned: Families,
    right: Solved,
    tests: Mapping[tuple[str, str], PairedTest],
    steps: Mapping[str, Sequence[Arithmetic]],
) -> list[Pair]:
    pairs = []
    for family, members in planned.items():
        family_tests = [tests[a.name, b.name] for a, b in members]
        for (a, b), test, p_holm in zip(members, family_tests, holm([test.p for test in family_tests]), strict=True):
            differences = _log_p_differences(a, b)
            discordant = (test.only_a + test.only_b) / test.n
            pairs.append(
                Pair(
                    family=family,
                    a=a.name,
                    b=b.name,
                    test=test,
                    p_holm=p_holm,
                    detectable=detectable_difference(test.n, discordant, SIGNIFICANT / len(members)),
                    clustered=_clustered(a, b, right),
                    log_p_difference=None if differences is None else float(differences.mean()),
                    log_p_interval=None if differences is None else mean_interval(differences),
                    arithmetic=_step_accuracy_difference(a, b, steps),
                )
            )
    return pairs


def _clustered(a: Arm, b: Arm, right: Solved) -> ClusterTest | None:
    groups = shared_groups(a, [key for key in right[a.name] if key in right[b.name]])
    return clustered_test(*_aligned(a, b, right), groups) if groups else None


def _log_p_differences(a: Arm, b: Arm) -> NDArray[np.float64] | None:
    """Difference of log p(gold value) at every problem that both have."""
    if a.outputs.log_p_gold_value is None or b.outputs.log_p_gold_value is None:
        return None
    log_p_b = dict(zip(b.outputs.keys, b.outputs.log_p_gold_value, strict=True))
    log_p_a = zip(a.outputs.keys, a.outputs.log_p_gold_value, strict=True)
    return np.asarray([value - log_p_b[key] for key, value in log_p_a if key in log_p_b])


def _step_accuracy_difference(a: Arm, b: Arm, steps: Mapping[str, Sequence[Arithmetic]]) -> StepAccuracyDifference:
    """Difference of the shares of right steps, over the problems that both have."""
    steps_a, steps_b = (dict(zip(arm.outputs.keys, steps[arm.name], strict=True)) for arm in (a, b))
    shared = [key for key in steps_a if key in steps_b]
    return step_accuracy_difference([steps_a[key] for key in shared], [steps_b[key] for key in shared])
