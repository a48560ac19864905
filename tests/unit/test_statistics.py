import numpy as np
import pytest
from scipy.stats import bootstrap, multinomial, norm
from statsmodels.stats.contingency_tables import mcnemar

from kdprobe.stats.bootstrap import mean_interval
from kdprobe.stats.intervals import accuracy_interval
from kdprobe.stats.mcnemar import paired_interval, paired_test
from kdprobe.stats.p_values import as_large, holm


@pytest.mark.parametrize(("both", "only_a", "only_b", "neither"), [(30, 12, 4, 14), (5, 0, 9, 6), (9, 3, 3, 5)])
def test_paired_test_is_mcnemars_exact_one(both, only_a, only_b, neither):
    a = [True] * (both + only_a) + [False] * (only_b + neither)
    b = [True] * both + [False] * only_a + [True] * only_b + [False] * neither
    test = paired_test(a, b)
    reference = mcnemar([[both, only_a], [only_b, neither]], exact=True)
    assert test.p == pytest.approx(reference.pvalue, rel=1e-9)
    assert (test.only_a, test.only_b, test.n) == (only_a, only_b, len(a))
    assert test.difference == pytest.approx((only_a - only_b) / len(a))


def test_equal_students_have_p_one_and_no_difference_but_no_certainty():
    test = paired_test([True, False] * 30, [True, False] * 30)
    assert (test.p, test.difference) == (1.0, 0.0)
    # Bonett and Price: one more problem on each side, Wald's error.
    half = norm.ppf(0.975) * np.sqrt(2 / 62 / 62)
    assert (test.interval.low, test.interval.high) == pytest.approx((-half, half))


@pytest.mark.parametrize(("only_a", "only_b"), [(1, 0), (6, 3), (0, 9)])
def test_interval_with_few_discordant_problems_is_walds_with_one_more_on_each_side(only_a, only_b):
    values = np.repeat([1.0, -1.0, 0.0], [only_a + 1, only_b + 1, 80 - only_a - only_b])
    half = norm.ppf(0.975) * values.std() / np.sqrt(82)
    interval = paired_interval(only_a, only_b, 80)
    assert (interval.low, interval.high) == pytest.approx((values.mean() - half, values.mean() + half))


@pytest.mark.parametrize(("only_a", "only_b"), [(10, 0), (4, 6), (40, 20)])
def test_interval_with_enough_discordant_problems_is_the_paired_bootstrap(only_a, only_b):
    a, b = np.zeros(200), np.zeros(200)
    a[:only_a], b[only_a : only_a + only_b] = 1, 1
    test = paired_test(a, b)
    reference = bootstrap(
        (a, b),
        lambda x, y, axis: x.mean(axis) - y.mean(axis),
        paired=True,
        n_resamples=20_000,
        method="percentile",
        rng=2,
    ).confidence_interval
    assert (test.interval.low, test.interval.high) == pytest.approx((reference.low, reference.high), abs=0.0051)
    assert test.interval == mean_interval(a - b)


@pytest.mark.parametrize("expected", [0.5, 1, 2, 4])
def test_interval_holds_the_truth_where_few_problems_are_discordant_and_the_bootstrap_does_not(expected):
    truth, outcomes = expected / 80, np.arange(40)
    chance = multinomial.pmf(np.stack([outcomes, 80 - outcomes], axis=1), 80, [truth, 1 - truth])
    intervals = [paired_interval(only_a, 0, 80) for only_a in outcomes]
    holds = np.array([one.low <= truth <= one.high for one in intervals])
    assert holds @ chance >= 0.945
    if expected <= 2:
        bootstrapped = [mean_interval(np.repeat([1.0, 0.0], [only_a, 80 - only_a])) for only_a in outcomes]
        assert np.array([one.low <= truth <= one.high for one in bootstrapped]) @ chance < 0.9


def test_interval_stays_between_minus_one_and_one():
    interval = paired_interval(4, 0, 4)
    assert interval.high == 1.0
    assert -1.0 <= interval.low < 1.0


@pytest.mark.parametrize(("correct", "n"), [(0, 20), (7, 20), (20, 20), (130, 500)])
def test_accuracy_interval_is_wilsons(correct, n):
    z, p = 1.959963984540054, correct / n
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    interval = accuracy_interval(correct, n)
    assert interval.low == pytest.approx(centre - half, abs=1e-12)
    assert interval.high == pytest.approx(centre + half, abs=1e-12)


@pytest.mark.parametrize("n", range(1, 60))
def test_accuracy_intervals_of_no_and_of_all_problems_end_at_exactly_zero_and_one(n):
    none, every = accuracy_interval(0, n), accuracy_interval(n, n)
    assert (none.low, every.high) == (0.0, 1.0)
    # Wilson: the other end is z^2 / (n + z^2) away.
    away = 1.959963984540054**2 / (n + 1.959963984540054**2)
    assert (none.high, every.low) == pytest.approx((away, 1 - away))


def test_mean_interval_is_the_percentile_bootstrap_and_repeats_itself():
    values = np.random.default_rng(3).normal(1.0, 2.0, 80)
    interval = mean_interval(values)
    reference = bootstrap((values,), np.mean, n_resamples=20_000, method="percentile", rng=1).confidence_interval
    assert interval.low == pytest.approx(reference.low, abs=0.03)
    assert interval.high == pytest.approx(reference.high, abs=0.03)
    assert mean_interval(values) == interval


def test_holm_by_hand():
    # Sorted 0.01, 0.02, 0.03, 0.5 times 4, 3, 2, 1, made monotone.
    assert holm([0.03, 0.01, 0.5, 0.02]) == pytest.approx([0.06, 0.04, 0.5, 0.06])
    assert holm([0.7, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_random_effects_that_differ_by_rounding_are_as_large():
    assert as_large(0.0, np.full(19, -1e-5)) == (19, 1.0)
    assert as_large(2.0, np.array([1.99, 2.0, 3.0])) == (2, 3 / 4)
    count, p = as_large(2.0, np.empty(0))
    assert (count, np.isnan(p)) == (0, True)
