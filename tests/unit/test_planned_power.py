"""The smallest difference that the planned problems and seeds could show, before anything is run."""

import numpy as np
import pytest

from kdprobe.comparison.arms import PRIMED
from kdprobe.experiment.foresight.evidence import too_little_evidence
from kdprobe.experiment.foresight.power import TYPICAL_SHARE, planned_power
from kdprobe.models.outline.memory import Memory
from kdprobe.stats.crossed import crossed_test
from kdprobe.stats.power import detectable_difference, detectable_strategy_difference, mcnemar_power


def power(problems, seeds=1, pairs=1, memory=None):
    return planned_power({"other": [()], PRIMED: [()] * pairs}, problems, seeds, memory or Memory())


def codes(planned):
    findings = too_little_evidence([], {PRIMED: [()] * planned.comparisons}, planned.problems, planned)
    return [finding.code for finding in findings]


def test_students_are_judged_by_the_test_that_will_compare_them():
    planned = power(80, pairs=3)
    assert (planned.family, planned.comparisons) == (PRIMED, 3)
    for row in planned.detectable:
        assert row.students == detectable_difference(80, row.share, 0.05 / 3)
        assert row.strategies is None
    typical = next(row for row in planned.detectable if row.share == TYPICAL_SHARE)
    assert mcnemar_power(80, typical.students, TYPICAL_SHARE, 0.05 / 3) == pytest.approx(0.8)
    assert mcnemar_power(planned.needed, 0.1, TYPICAL_SHARE, 0.05 / 3) >= 0.8


def test_strategies_are_judged_from_three_seeds_on():
    assert [row.strategies for row in power(80, seeds=2, pairs=2).detectable] == [None] * 3
    planned = power(80, seeds=3, pairs=6)
    # Six pairs of students are two comparisons of strategies.
    assert [row.strategies for row in planned.detectable] == [
        detectable_strategy_difference(80, 3, row.share, 0.05 / 2) for row in planned.detectable
    ]


@pytest.mark.parametrize(("problems", "expected"), [(3, ["too-few-problems"]), (20, ["low-power"]), (80, [])])
def test_a_hopeless_plan_is_warned_of_once(problems, expected):
    assert codes(power(problems)) == expected


def test_a_plan_that_compares_nothing_has_no_power():
    assert planned_power({PRIMED: []}, 80, 1, Memory()) is None


def test_it_is_computed_once(tmp_path, monkeypatch):
    first = power(80, memory=Memory(tmp_path))
    monkeypatch.setattr("kdprobe.stats.power.detectable_difference", None)
    assert power(80, memory=Memory(tmp_path)) == first


def simulated_power(n, seeds, share, difference, runs=400):
    """How often `crossed_test` rejects if a coin that depends on the strategy decides a share of the problems."""
    random, rejected = np.random.default_rng(1), 0
    for _ in range(runs):
        coins = random.random(n) < 2 * share
        fixed = (random.random(n) < 0.5).astype(float)
        a, b = (np.where(coins, 0.5 + sign * difference / (4 * share), fixed) for sign in (1, -1))
        rejected += crossed_test(random.random((seeds, n)) < a, random.random((seeds, n)) < b).p < 0.05
    return rejected / runs


@pytest.mark.parametrize(("n", "seeds", "share"), [(319, 3, 0.2), (319, 5, 0.2), (1319, 3, 0.1)])
def test_the_crossed_test_detects_what_it_is_said_to_detect(n, seeds, share):
    difference = detectable_strategy_difference(n, seeds, share)
    # Four Monte Carlo standard errors are 8 points; the approximation itself is within 4.
    assert simulated_power(n, seeds, share, difference) == pytest.approx(0.8, abs=0.1)


def test_more_problems_and_seeds_detect_less():
    least = [detectable_strategy_difference(n, seeds, 0.2) for n, seeds in ((80, 3), (319, 3), (319, 5), (1319, 5))]
    assert least == sorted(least, reverse=True)
    assert all(0 < difference <= 0.2 for difference in least)
    assert detectable_strategy_difference(10, 3, 0.1) is None
    assert detectable_strategy_difference(80, 3, 0.0) is None
