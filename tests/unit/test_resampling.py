import numpy as np
import pytest
from scipy.stats import bootstrap, ttest_1samp

from kdprobe.stats.bootstrap import known_mean, means_over_problems


@pytest.fixture
def values():
    return np.random.default_rng(0).gamma(2, 1, (30, 2, 3))


def test_intervals_are_those_of_scipys_percentile_bootstrap(values):
    means = means_over_problems(values)
    theirs = bootstrap((values,), np.mean, axis=0, method="percentile", n_resamples=4_000, rng=1).confidence_interval
    np.testing.assert_allclose(means.value, values.mean(axis=0))
    np.testing.assert_allclose(means.low, theirs.low, atol=0.06)
    np.testing.assert_allclose(means.high, theirs.high, atol=0.06)


def test_problems_without_a_value_are_left_out(values):
    holes = values.copy()
    holes[20:, 0, 0] = np.nan
    holes[:, 1, 1] = np.nan
    means = means_over_problems(holes)
    assert means.value[0, 0] == pytest.approx(values[:20, 0, 0].mean())
    assert means.low[0, 0] < means.value[0, 0] < means.high[0, 0]
    assert np.isnan([means.value[1, 1], means.low[1, 1], means.high[1, 1]]).all()
    assert means.value[0, 1] == pytest.approx(values[:, 0, 1].mean())


def test_few_problems_have_students_intervals(values):
    few = values[:9].copy()
    few[:2, 0, 0] = np.nan
    means = means_over_problems(few)
    theirs = ttest_1samp(few, 0, nan_policy="omit").confidence_interval()
    np.testing.assert_allclose(means.low, theirs.low)
    np.testing.assert_allclose(means.high, theirs.high)
    # A column of many problems with few values, too.
    holes = values.copy()
    holes[3:, 0, 0], holes[1:, 0, 1] = np.nan, np.nan
    means = means_over_problems(holes)
    assert means.high[0, 0] == pytest.approx(ttest_1samp(values[:3, 0, 0], 0).confidence_interval().high)
    assert np.isnan([means.low[0, 1], means.high[0, 1]]).all()
    assert means.high[1, 1] == pytest.approx(means_over_problems(values).high[1, 1])


def test_intervals_of_few_normal_values_cover_the_mean():
    normal = np.random.default_rng(1).normal(size=(3, 4_000))
    means = means_over_problems(normal)
    assert ((means.low < 0) & (means.high > 0)).mean() == pytest.approx(0.95, abs=0.012)


def test_one_problem_has_no_interval(values):
    means = means_over_problems(values[:1])
    np.testing.assert_array_equal(means.value, values[0])
    assert np.isnan(means.low).all()
    assert np.isnan(means.high).all()


def test_known_mean_of_nothing_is_nothing():
    assert np.isnan(known_mean(np.array([np.nan, np.nan]), 0))
    assert known_mean(np.array([1.0, np.nan, 3.0]), 0) == 2
