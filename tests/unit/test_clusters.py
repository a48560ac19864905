import numpy as np
import pytest
import statsmodels.api as sm
from scipy.stats import permutation_test, t
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint

from kdprobe.errors import KdprobeError
from kdprobe.stats.clustered import (
    Groups,
    clustered_accuracy_interval,
    clustered_interval,
    clustered_test,
)
from kdprobe.stats.permutations.sign_flips import sign_flip_p

UNEVEN = [0] * 9 + [1] * 2 + [2] * 5 + [3] * 4 + [4]


def answers(seed, n):
    random = np.random.default_rng(seed)
    return random.random(n) < 0.6, random.random(n) < 0.4


def test_interval_is_the_cluster_robust_one_of_a_regression_on_nothing_when_groups_are_of_one_size():
    values, groups = np.random.default_rng(1).normal(size=60) + np.repeat(np.arange(12), 5) / 4, np.arange(60) % 12
    fit = sm.OLS(values, np.ones(60)).fit(cov_type="cluster", cov_kwds={"groups": groups}, use_t=True)
    interval = clustered_interval(values, groups.tolist())
    assert [interval.low, interval.high] == pytest.approx(fit.conf_int()[0], rel=1e-9)


def test_interval_with_uneven_groups_is_the_jackknife_with_satterthwaites_degrees_of_freedom():
    groups, values = np.array(UNEVEN), np.random.default_rng(2).normal(size=len(UNEVEN))
    left_out = np.array([values[groups != one].mean() for one in range(5)])
    variance = 4 / 5 * ((left_out - values.mean()) ** 2).sum()
    # The variance as a quadratic form in the values, which are independent and alike.
    out = np.array([(groups != one) / (groups != one).sum() for one in range(5)]) - 1 / len(groups)
    form = out @ out.T
    df = np.trace(form) ** 2 / np.trace(form @ form)
    half = t.ppf(0.975, df) * np.sqrt(variance)
    interval = clustered_interval(values, UNEVEN)
    assert [interval.low, interval.high] == pytest.approx([values.mean() - half, values.mean() + half], rel=1e-9)
    assert df < 4


def test_degrees_of_freedom_are_groups_less_one_when_sizes_are_equal():
    assert Groups(["x", "y", "z", "x", "y", "z"]).df == pytest.approx(2)
    assert Groups(range(50)).df == pytest.approx(49)


def test_p_is_the_sign_flip_test_over_groups():
    a, b = answers(3, len(UNEVEN))
    totals = np.bincount(UNEVEN, a.astype(int) - b.astype(int))
    reference = permutation_test((totals,), np.sum, permutation_type="samples", n_resamples=np.inf)
    assert clustered_test(a, b, UNEVEN).p == pytest.approx(reference.pvalue, abs=1e-12)
    assert 0 < reference.pvalue < 1


def test_p_with_many_groups_is_what_random_signs_find():
    totals = np.random.default_rng(4).integers(-3, 4, 40)
    signs = np.random.default_rng(5).choice([-1, 1], size=(200_000, 40))
    found = (abs(signs @ totals) >= abs(totals.sum())).mean()
    assert sign_flip_p(totals) == pytest.approx(found, abs=0.004)
    assert 0.01 < found < 0.9


def test_one_problem_in_each_group_is_mcnemars_exact_test():
    a, b = answers(6, 70)
    test = clustered_test(a, b, range(70))
    table = [[(a & b).sum(), (a & ~b).sum()], [(~a & b).sum(), (~a & ~b).sum()]]
    assert test.p == pytest.approx(mcnemar(table, exact=True).pvalue, rel=1e-9)
    assert (test.n, test.groups, test.difference) == (70, 70, pytest.approx(a.mean() - b.mean()))


def test_problems_told_ten_times_are_worth_no_more_than_once():
    a, b = answers(7, 24)
    once = clustered_test(a, b, range(24))
    often = clustered_test(np.repeat(a, 10), np.repeat(b, 10), np.repeat(np.arange(24), 10).tolist())
    assert (often.p, often.n, often.groups) == (pytest.approx(once.p), 240, 24)
    assert (often.interval.low, often.interval.high) == pytest.approx((once.interval.low, once.interval.high))


@pytest.mark.parametrize(("groups", "smallest"), [(4, 0.125), (5, 0.0625), (6, 0.03125)])
def test_few_groups_cannot_reach_a_small_p_however_clear_they_are(groups, smallest):
    names = np.repeat(np.arange(groups), 30).tolist()
    test = clustered_test([True] * len(names), [False] * len(names), names)
    assert (test.p, test.smallest_p) == (smallest, smallest)


def test_groups_in_which_nothing_differs_do_not_help_to_a_smaller_p():
    test = clustered_test([True, True, True, False, True], [False, False, True, False, True], "abcde")
    assert (test.p, test.smallest_p) == (0.5, 0.5)


def test_order_of_problems_does_not_matter():
    a, b = answers(8, len(UNEVEN))
    shuffled = np.random.default_rng(0).permutation(len(UNEVEN))
    mixed = clustered_test(a[shuffled], b[shuffled], [f"template {UNEVEN[place]}" for place in shuffled])
    test = clustered_test(a, b, UNEVEN)
    assert mixed.p == test.p
    assert (mixed.interval.low, mixed.interval.high) == pytest.approx((test.interval.low, test.interval.high))


def test_students_that_never_differ_leave_a_doubt_that_shrinks_with_groups():
    few, many = (clustered_test([True] * 60, [True] * 60, (np.arange(60) % count).tolist()) for count in (6, 60))
    for test in (few, many):
        assert (test.p, test.difference) == (1.0, 0.0)
        assert test.interval.low == -test.interval.high < 0
    assert many.interval.high < few.interval.high / 5


def test_accuracy_of_problems_told_ten_times_is_known_as_well_as_once():
    right, _ = answers(9, 30)
    once = clustered_accuracy_interval(right, range(30))
    often = clustered_accuracy_interval(np.repeat(right, 10), np.repeat(np.arange(30), 10).tolist())
    assert (often.low, often.high) == pytest.approx((once.low, once.high))
    # Independent problems: Wilson's interval but for the t quantile and n - 1 in the variance.
    low, high = proportion_confint(right.sum(), 30, method="wilson")
    assert (once.low, once.high) == pytest.approx((low, high), abs=0.02)
    assert once.low < low < high < once.high


@pytest.mark.parametrize("right", [True, False])
def test_accuracy_when_all_problems_came_out_alike_counts_groups(right):
    interval = clustered_accuracy_interval([right] * 90, (np.arange(90) % 9).tolist())
    worth = 9 * (1.959963984540054 / t.ppf(0.975, 8)) ** 2
    assert [interval.low, interval.high] == pytest.approx(proportion_confint(right * worth, worth, method="wilson"))
    assert (interval.high if right else interval.low) == float(right)


@pytest.mark.parametrize("last", [(True, False), (True, True)])
def test_accuracy_that_is_nearly_the_same_in_every_group_is_not_better_known_than_if_independent(last):
    right = [*[True, False] * 19, *last]
    interval = clustered_accuracy_interval(right, np.repeat(np.arange(20), 2).tolist())
    low, high = proportion_confint(sum(right), 40, method="wilson")
    assert interval.low < low < high < interval.high


def test_one_group_says_nothing_about_others():
    with pytest.raises(KdprobeError, match="one group"):
        clustered_test([True, False], [False, False], ["same", "same"])
