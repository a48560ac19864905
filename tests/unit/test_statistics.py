import numpy as np
import pytest
from scipy.stats import bootstrap
from statsmodels.stats.contingency_tables import mcnemar

from kdprobe.evaluation.statistics import accuracy_interval, holm, mean_interval, paired_test


@pytest.mark.parametrize(("both", "only_a", "only_b", "neither"), [(30, 12, 4, 14), (5, 0, 9, 6), (9, 3, 3, 5)])
def test_paired_test_is_mcnemars_exact_one(both, only_a, only_b, neither):
    a = [True] * (both + only_a) + [False] * (only_b + neither)
    b = [True] * both + [False] * only_a + [True] * only_b + [False] * neither
    test = paired_test(a, b)
    reference = mcnemar([[both, only_a], [only_b, neither]], exact=True)
    assert test.p == pytest.approx(reference.pvalue, rel=1e-9)
    assert (test.only_a, test.only_b, test.n) == (only_a, only_b, len(a))
    assert test.difference == pytest.approx((only_a - only_b) / len(a))


def test_equal_students_have_p_one_and_no_difference():
    test = paired_test([True, False, True], [True, False, True])
    assert (test.p, test.difference, test.interval.low, test.interval.high) == (1.0, 0.0, 0.0, 0.0)


@pytest.mark.parametrize(("correct", "n"), [(0, 20), (7, 20), (20, 20), (130, 500)])
def test_accuracy_interval_is_wilsons(correct, n):
    z, p = 1.959963984540054, correct / n
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    interval = accuracy_interval(correct, n)
    assert interval.low == pytest.approx(centre - half, abs=1e-12)
    assert interval.high == pytest.approx(centre + half, abs=1e-12)


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
