from itertools import combinations

import numpy as np
import pytest
from scipy.stats import mannwhitneyu, norm

from kdprobe.probing.attention.association import _sentence as association_sentence
from kdprobe.probing.attention.association import associate
from kdprobe.stats.van_elteren import length_strata, van_elteren


@pytest.fixture
def random():
    return np.random.default_rng(0)


def test_one_stratum_is_mann_whitney(random):
    values = random.integers(0, 6, (40, 5)).astype(float)  # with ties
    correct = random.random(40) < 0.4
    found = van_elteren(values, correct, np.zeros(40, dtype=int))
    for head in range(5):
        theirs = mannwhitneyu(values[correct, head], values[~correct, head], method="asymptotic", use_continuity=False)
        assert found.p[head] == pytest.approx(theirs.pvalue)
        assert found.superiority[head] == pytest.approx(theirs.statistic / found.pairs)


def test_unequal_strata_have_the_spread_of_all_their_permutations(random):
    # Statistic and spread anew: scipy's U of each stratum over N + 1, under every choice of who is right in it.
    sizes, rights = (4, 6), (2, 3)
    values = [random.integers(0, 4, size).astype(float) for size in sizes]

    def statistic(stratum, right):
        wrong = [place for place in range(sizes[stratum]) if place not in right]
        return mannwhitneyu(values[stratum][list(right)], values[stratum][wrong]).statistic / (sizes[stratum] + 1)

    every = [[statistic(s, right) for right in combinations(range(sizes[s]), rights[s])] for s in (0, 1)]
    seen = statistic(0, (0, 1)) + statistic(1, (0, 1, 2))
    z = (seen - sum(map(np.mean, every))) / np.sqrt(sum(map(np.var, every)))
    correct = np.array([True, True, False, False, True, True, True, False, False, False])
    found = van_elteren(np.concatenate(values)[:, None], correct, np.repeat([0, 1], sizes))
    assert found.p[0] == pytest.approx(2 * norm.sf(abs(z)))


@pytest.mark.parametrize(
    ("heads", "said"),
    [
        (1, "in 1 head, entropy is associated with correctness (false discovery rate 0.05): layer 0, head 0 (1.00, q "),
        (4, "in 4 heads, entropy is associated with correctness (false discovery rate 0.05), most strongly in layer 0"),
    ],
)
def test_heads_are_named_as_one_or_several(heads, said):
    correct = np.arange(40) < 20
    # Only the first heads have higher values for correct answers.
    values = np.tile(np.arange(20.0), 2)[:, None, None] * np.ones((1, 10))
    values[:, 0, :heads] += 20 * correct[:, None]
    association, q = associate(values, correct, np.zeros(40, dtype=int))
    assert said in association_sentence("s", "entropy", association, q, correct)


def test_what_goes_with_length_alone_is_no_association(random):
    # Long problems have high values and are rarely solved; within a length nothing goes with anything.
    strata = np.repeat(np.arange(4), 100)
    correct = random.random(400) < (0.8 - 0.2 * strata)
    values = strata[:, None] * 3.0 + random.normal(size=(400, 20))
    assert (van_elteren(values, correct, np.zeros(400, dtype=int)).p < 1e-6).all()
    within = van_elteren(values, correct, strata)
    assert (within.p > 0.001).all()
    assert np.abs(within.superiority - 0.5).max() < 0.15


def test_without_association_p_is_uniform(random):
    strata = np.arange(60) % 3
    correct = np.arange(60) % 5 < 2
    p = van_elteren(random.normal(size=(60, 4_000)), correct, strata).p
    assert 0.04 < (p <= 0.05).mean() < 0.06


def test_strata_without_both_kinds_count_nothing(random):
    values = random.normal(size=(4, 2))
    nothing = van_elteren(values, np.array([True, True, False, False]), np.array([0, 0, 1, 1]))
    assert nothing.pairs == 0
    assert (nothing.p == 1).all()
    assert np.isnan(nothing.superiority).all()


def test_lengths_fall_into_strata_of_like_size_and_equal_ones_together(random):
    lengths = random.integers(50, 300, 80).astype(float)
    strata = length_strata(lengths, 4)
    assert np.bincount(strata).min() >= 15
    assert all(len(set(strata[lengths == length])) == 1 for length in lengths)
    assert set(length_strata(np.full(6, 80.0), 4)) == {0}
