"""Tests of rates: exact against scipy and enumeration, and valid where students differ by habit."""

import importlib.util
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import scipy

from kdprobe.stats.rates.label_swaps import label_swap_p
from kdprobe.stats.rates.more_often import more_often
from kdprobe.stats.rates.over_students import over_students

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def simulation():
    sys.path.insert(0, str(FOLDER))
    spec = importlib.util.spec_from_file_location("leaks", FOLDER / "leaks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.path.remove(str(FOLDER))


def shows(*counts, n=50):
    """One student that shows it on the first `counts[0]` problems, and one that does on the next `counts[1]`."""
    first, second = counts
    rows = np.arange(n)
    return rows[None] < first, (rows[None] >= first) & (rows[None] < first + second)


@pytest.mark.parametrize(("only_a", "only_b"), [(5, 0), (4, 1), (9, 3), (20, 12)])
def test_one_student_each_is_mcnemars_exact_test(only_a, only_b):
    found = more_often(*shows(only_a, only_b))
    expected = scipy.stats.binomtest(only_a, only_a + only_b, alternative="greater").pvalue
    assert found.p == pytest.approx(expected)
    assert (found.rate_a, found.rate_b) == (only_a / 50, only_b / 50)
    assert found.interval.low < found.difference < found.interval.high


@pytest.mark.parametrize("counts", [(0, 0), (0, 4), (3, 3)])
def test_a_rate_that_is_not_higher_has_p_1(counts):
    assert more_often(*shows(*counts)).p == 1


def test_several_students_flip_together():
    random = np.random.default_rng(2)
    a, b = (random.random((2, 9)) < share for share in (0.7, 0.3))
    totals = a.sum(axis=0).astype(int) - b.sum(axis=0)
    flipped = [np.dot(signs, totals) for signs in product((1, -1), repeat=9)]
    assert more_often(a, b).p == pytest.approx(np.mean([total >= totals.sum() for total in flipped]))


def test_a_single_problem_has_no_interval():
    found = more_often(np.array([[True]]), np.array([[False]]))
    assert found.p == 0.5
    assert not found.interval.known


def test_swaps_are_all_enumerated_if_they_are_few():
    values = np.array([3.0, 1.0, 2.0])
    p = label_swap_p(lambda swaps: (np.where(swaps, -1, 1) * values).sum(axis=1), 3)
    assert p == 1 / 8
    assert label_swap_p(lambda swaps: np.zeros(len(swaps)), 0) == 1


def test_students_that_differ_among_themselves_show_nothing_of_the_strategy():
    n = 200
    habit = np.zeros((3, n), dtype=bool)
    habit[0] = True
    nobody = np.zeros((3, n), dtype=bool)
    test = more_often(habit, nobody)
    assert test.p < 1e-9
    [judged] = over_students([test], [("a", "b")])
    assert judged.p > 0.1
    # All three do it: so does the strategy.
    [judged] = over_students([more_often(~nobody, nobody)], [("a", "b")])
    assert judged.p < 1e-4


def test_the_p_over_students_is_students_t_on_the_arcsine_scale():
    random = np.random.default_rng(4)
    sides = [random.random((4, 100)) < share for share in (0.5, 0.3)]
    test = more_often(*sides)
    scaled = [np.arcsin(np.sqrt(side.mean(axis=1))) for side in sides]
    pooled = np.mean([side.var(ddof=1) for side in scaled])
    t = (scaled[0].mean() - scaled[1].mean()) / np.sqrt(max(pooled, 1 / 400) * 2 / 4)
    assert over_students([test], [("a", "b")])[0].p == pytest.approx(max(test.p, scipy.stats.t.sf(t, 6)))


def test_each_strategy_counts_once_in_the_variance_between_seeds():
    """Three primed strategies against one unprimed: equal rates of different strategies do not make them one."""
    random = np.random.default_rng(5)
    unprimed = random.random((3, 100)) < 0.3
    never = np.zeros((3, 100), dtype=bool)
    primed = [random.random((3, 100)) < share for share in (0.3, 0.7)]
    primed[1][1:] = False
    tests = [more_often(side, unprimed) for side in (*primed, never, never)]
    scaled = [np.arcsin(np.sqrt(side.mean(axis=1))) for side in (unprimed, *primed, never, never)]
    pooled = np.mean([side.var(ddof=1) for side in scaled])
    t = (scaled[1].mean() - scaled[0].mean()) / np.sqrt(pooled * 2 / 3)
    names = [(arm, "unprimed") for arm in range(4)]
    assert over_students(tests, names)[0].p == pytest.approx(max(tests[0].p, scipy.stats.t.sf(t, 10)))
    # Without the third student, the unprimed strategy is still the same one.
    fewer = more_often(primed[0][:2], unprimed[:2])
    assert over_students([*tests, fewer], [*names, (4, "unprimed")])[:4] == over_students(tests, names)


def test_fewer_than_three_seeds_stay_as_they_are():
    test = more_often(*shows(8, 0))
    assert over_students([test], [("a", "b")]) == [test]


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize(("rate", "problems"), [(0.02, 40), (0.3, 60)])
def test_nothing_is_found_where_students_are_trained_alike(simulation, seeds, rate, problems):
    """`benchmarks/leaks.py` does the same with more settings and repetitions."""
    setting = simulation.Setting(problems, rate, 0.5, seeds)
    share = simulation.false_alarms(np.random.default_rng(seeds), setting, 100)
    # Of 100 repetitions of an event of 5%, more than 12 are found once in a thousand.
    assert share <= 0.12


def test_habits_of_students_are_no_finding_with_three_seeds(simulation):
    setting = simulation.Setting(60, 0.2, 0.3, 3, 0.4)
    assert simulation.false_alarms(np.random.default_rng(1), setting, 100) <= 0.12


@pytest.mark.parametrize("seeds", [1, 3])
def test_leaks_are_found(simulation, seeds):
    random = np.random.default_rng(seeds)
    setting = simulation.Setting(200, 0.02, 0.3, seeds)
    found = [simulation.hedging_found(random, setting) * simulation.TESTS < 0.05 for _ in range(20)]
    quoted = [simulation.quotes_found(random, setting) * simulation.TESTS < 0.05 for _ in range(20)]
    assert sum(found) >= 19
    assert sum(quoted) >= 16
