"""Means per token over prompts, and over seeds and prompts, against leaving out by hand and against `crossed_test`."""

import numpy as np
import pytest
from scipy.stats import t

from kdprobe.stats.clustered import clustered_interval, clustered_mean
from kdprobe.stats.crossed import crossed_test
from kdprobe.stats.crossed_means import crossed_difference, crossed_mean

SIZES = np.array([3, 9, 4, 12, 7])


def texts(seed):
    """Values of every token of texts of different lengths."""
    random = np.random.default_rng(seed)
    return [random.gamma(1, 0.3, size) + random.normal(0, 0.1) for size in SIZES]


def test_a_mean_per_token_leaves_out_whole_texts():
    values = texts(0)
    every = np.concatenate(values)
    left_out = [np.concatenate(values[:i] + values[i + 1 :]).mean() for i in range(len(values))]
    error = np.sqrt((len(values) - 1) / len(values) * sum((mean - every.mean()) ** 2 for mean in left_out))
    found = clustered_mean(np.array([text.sum() for text in values]), SIZES)
    assert found.value == pytest.approx(every.mean())
    assert found.error == pytest.approx(error)
    # Unequal lengths leave fewer degrees of freedom than texts minus one.
    half = found.interval.high - found.value
    assert t.ppf(0.975, len(values) - 1) * error < half < t.ppf(0.975, 2) * error
    groups = np.repeat(np.arange(len(values)), SIZES)
    by_token = clustered_interval(every, groups)
    assert (by_token.low, by_token.high) == pytest.approx((found.interval.low, found.interval.high))


def test_a_single_text_has_a_mean_but_no_interval():
    found = clustered_mean(np.array([3.0]), np.array([4]))
    assert found.value == 0.75
    assert np.isnan(found.error)
    assert not found.interval.known


@pytest.mark.parametrize("seeds", [(3, 3), (4, 6)])
def test_with_one_token_per_prompt_it_is_the_crossed_test(seeds):
    random = np.random.default_rng(4)
    hard = random.normal(0, 1, 30)
    a, b = ((random.random((count, 30)) < 1 / (1 + np.exp(-hard))).astype(float) for count in seeds)
    expected, found = crossed_test(a, b), crossed_difference((a, np.ones_like(a)), (b, np.ones_like(b)))
    assert found.value == pytest.approx(expected.difference)
    assert (found.interval.low, found.interval.high) == pytest.approx((expected.interval.low, expected.interval.high))
    alone = crossed_mean(a, np.ones_like(a))
    against_none = crossed_test(a, np.zeros(30))
    assert alone.value == pytest.approx(a.mean())
    bounds = np.clip([alone.interval.low, alone.interval.high], -1, 1)
    assert bounds == pytest.approx([against_none.interval.low, against_none.interval.high])


def test_a_prompt_with_more_tokens_counts_as_more():
    """Repeating every token leaves all means and intervals as they are; a longer prompt moves them."""
    random = np.random.default_rng(5)
    sums = random.gamma(2, 1, (3, 12))
    ones = np.ones_like(sums)
    once, thrice = crossed_mean(sums, ones), crossed_mean(3 * sums, 3 * ones)
    assert thrice.value == pytest.approx(once.value)
    assert thrice.interval.high == pytest.approx(once.interval.high)
    sizes = ones.copy()
    sizes[:, 0] = 50
    heavy = crossed_mean(sums * sizes, sizes)
    assert heavy.value == pytest.approx((sums * sizes).sum() / sizes.sum())
    assert heavy.error > once.error


def test_intervals_of_strategies_hold_as_often_as_they_say():
    """Texts whose lengths differ and go with their values, several per world: 95% within simulation error."""
    held = 0
    for seed in range(600):
        random = np.random.default_rng(seed)
        sizes = random.integers(5, 40, (1, 24)).repeat(4, axis=0)
        level = 0.5 + 0.01 * sizes[:1] + random.normal(0, 0.1, (1, 24)) + random.normal(0, 0.05, (4, 1))
        sums = (level + random.normal(0, 0.1, (4, 24))) * sizes
        # The mean per token of infinitely many prompts and seeds: lengths are uniform on 5 to 39.
        lengths = np.arange(5, 40)
        true = ((0.5 + 0.01 * lengths) * lengths).sum() / lengths.sum()
        interval = crossed_mean(sums, sizes).interval
        held += interval.low <= true <= interval.high
    assert 0.93 <= held / 600 <= 0.99
