"""One-sided bounds of paired changes: against independent computations, and their error rates."""

import numpy as np
import pytest
import scipy
from scipy.optimize import minimize_scalar
from scipy.stats import binom, norm

from kdprobe.stats.cochran import critical_value, upper_tail
from kdprobe.stats.paired import (
    documents_to_retain,
    paired_change,
    power_to_retain,
    score_statistic,
    seeds_change,
    weighted_interval,
)


def outcomes(gained, lost, n):
    return np.array([1.0] * gained + [-1.0] * lost + [0.0] * (n - gained - lost))


@pytest.mark.parametrize(
    ("gained", "lost", "n", "difference"),
    [(3, 5, 60, -0.1), (0, 0, 50, -0.05), (10, 2, 40, 0.1), (0, 4, 50, -0.02), (7, 7, 100, -0.3)],
)
def test_the_score_statistic_has_the_variance_of_the_constrained_maximum(gained, lost, n, difference):
    def minus_log_likelihood(q):
        cells = [(gained, q + difference), (lost, q), (n - gained - lost, 1 - 2 * q - difference)]
        return -sum(count * np.log(max(share, 1e-300)) for count, share in cells if count)

    low, high = max(0.0, -difference), (1 - difference) / 2
    q = minimize_scalar(minus_log_likelihood, bounds=(low, high), method="bounded", options={"xatol": 1e-12}).x
    expected = (gained - lost - n * difference) / np.sqrt(n * (2 * q + difference - difference**2))
    assert score_statistic(gained, lost, n, difference) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("n", [30, 100, 300])
@pytest.mark.parametrize("margin", [0.02, 0.05, 0.1])
def test_a_loss_of_exactly_the_margin_is_called_retained_at_most_once_in_twenty(n, margin):
    """Exactly, over all possible samples, for several shares of disagreements."""
    counts = np.array([(gained, lost) for gained in range(n + 1) for lost in range(n + 1 - gained)])
    critical = norm.ppf(0.95)
    retained = np.array([score_statistic(*pair, n, -margin, continuity=0.5) > critical for pair in counts])
    for share in (margin, 1.2 * margin, 2 * margin, 0.2, 0.5):
        if share >= margin:
            split = counts.sum(axis=1)
            chance = binom.pmf(split, n, share) * binom.pmf(counts[:, 1], split, (share + margin) / (2 * share))
            assert chance[retained].sum() <= 0.05, share


@pytest.mark.parametrize(
    ("gained", "lost", "n"), [(3, 5, 60), (0, 0, 50), (0, 10, 50), (10, 0, 50), (0, 50, 50), (2, 0, 2)]
)
def test_the_bounds_are_where_the_statistic_is_critical(gained, lost, n):
    change = paired_change(outcomes(gained, lost, n))
    assert -1 <= change.low <= change.change <= change.high <= 1
    assert change.change == pytest.approx((gained - lost) / n)
    if change.low > -1:
        assert score_statistic(gained, lost, n, change.low, continuity=0.5) == pytest.approx(norm.ppf(0.95), abs=1e-6)
    mirrored = paired_change(-outcomes(gained, lost, n))
    assert (mirrored.low, mirrored.high) == pytest.approx((-change.high, -change.low))
    assert change.p_lower == pytest.approx(binom.cdf(gained, gained + lost, 0.5))


def test_other_scores_have_the_bounds_of_students_t():
    values = np.array([-0.3, 0.1, -0.2, 0.05, -0.4, 0.2, -0.1])
    change = paired_change(values)
    error = values.std(ddof=1) / np.sqrt(7)
    assert change.change == pytest.approx(values.mean())
    assert change.low == pytest.approx(values.mean() - 1.943180 * error, rel=1e-5)
    assert change.high == pytest.approx(values.mean() + 1.943180 * error, rel=1e-5)


def test_weights_count_as_words_do():
    values, words = np.array([-1.0, -2.0, -3.0]), np.array([10.0, 20.0, 70.0])
    interval = weighted_interval(values, words)
    assert (interval.low + interval.high) / 2 == pytest.approx(-2.6)
    assert paired_change(values, words).change == pytest.approx(-2.6)


def test_a_strategy_is_compared_over_seeds_and_documents():
    """Seeds that differ much widen the bounds, however many documents there are."""
    random = np.random.default_rng(0)
    untrained = random.random(2000) < 0.5
    even = np.array([untrained ^ (random.random(2000) < 0.02) for _ in range(3)]).astype(float) - untrained
    uneven = even.copy()
    uneven[0] -= (random.random(2000) < 0.2) * (untrained & (uneven[0] == 0))
    narrow, wide = seeds_change(even), seeds_change(uneven)
    assert wide.high - wide.low > 3 * (narrow.high - narrow.low)
    assert wide.change < -0.02 < 0 < wide.high


def test_an_untouched_copy_is_never_lost():
    for change in (
        paired_change(np.zeros(50)),
        seeds_change(np.zeros((3, 50))),
        paired_change(np.zeros(5), np.ones(5)),
    ):
        assert change.change == 0
        assert change.p_lower > 0.05


def test_power_to_retain_is_that_of_samples():
    random, n, margin, share = np.random.default_rng(0), 400, 0.05, 0.1
    draws = random.multinomial(n, [share / 2, share / 2, 1 - share], size=2000)
    critical = norm.ppf(0.95)
    shown = np.mean([score_statistic(g, lost, n, -margin, continuity=0.5) > critical for g, lost, _ in draws])
    assert power_to_retain(n, margin, share) == pytest.approx(shown, abs=0.04)
    assert power_to_retain(documents_to_retain(margin, share, 0.8), margin, share) >= 0.8
    assert power_to_retain(documents_to_retain(margin, share, 0.8) - 1, margin, share) < 0.8


def test_cochrans_critical_value_lies_between_those_of_its_parts():
    few, many = (scipy.stats.t.isf(0.01, df) for df in (2, 200))
    assert critical_value(0.01, 1.0, 2, 200) == pytest.approx(few)
    assert critical_value(0.01, 0.0, 2, 200) == pytest.approx(many)
    assert critical_value(0.01, 0.25, 2, 200) == pytest.approx(0.25 * few + 0.75 * many)
    for share in (0.0, 0.3, 1.0):
        for tail in (1e-6, 0.01, 0.3):
            assert upper_tail(critical_value(tail, share, 2, 200), share, 2, 200) == pytest.approx(tail, rel=1e-4)
            assert upper_tail(-critical_value(tail, share, 2, 200), share, 2, 200) == pytest.approx(1 - tail)


def test_a_strategy_whose_students_all_lose_the_same_per_word_has_lost_that_much():
    """Regardless of the number of words: different lengths of documents are not evidence of different losses."""
    words = np.array([10.0, 300.0, 40.0, 1000.0, 70.0])
    change = seeds_change(np.full((3, 5), -0.1), words)
    assert (change.low, change.change, change.high) == pytest.approx((-0.1, -0.1, -0.1))
    random = np.random.default_rng(0)
    values = random.normal(-0.1, 0.05, (3, 5))
    change = seeds_change(values, words)
    assert change.change == pytest.approx(np.average(values.mean(axis=0), weights=words))
    shifted = seeds_change(values - 5, words)
    assert shifted.high - shifted.low == pytest.approx(change.high - change.low)


def test_one_document_has_no_bounds_but_those_of_right_and_wrong():
    for change in (paired_change(np.array([-0.4])), seeds_change(np.full((3, 1), -0.4))):
        assert (change.change, change.low, change.high) == (pytest.approx(-0.4), -np.inf, np.inf)
        assert change.p_lower == 1
    right = paired_change(np.array([-1.0]))
    assert right.low == -1
    assert right.p_lower == 0.5
