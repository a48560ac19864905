import math
import tracemalloc
from itertools import product

import numpy as np
import pytest
from scipy.stats import permutation_test, ttest_1samp

from kdprobe.stats.clustered import clustered_test
from kdprobe.stats.least import FEWEST_PROBLEMS
from kdprobe.stats.permutations.max_t import max_t
from kdprobe.stats.permutations.sign_flips import sign_flip_p
from kdprobe.stats.samples.means import paired_means_test

HEADS = (2, 5)


@pytest.fixture
def random():
    return np.random.default_rng(0)


def test_all_signs_give_what_enumeration_gives(random):
    differences = random.normal(0.3, 1, (7, *HEADS))
    flat = differences.reshape(7, -1)
    seen = np.abs(ttest_1samp(flat, 0).statistic)
    largest = [
        np.abs(ttest_1samp(flat * np.array(signs)[:, None], 0).statistic).max() for signs in product([1, -1], repeat=7)
    ]
    expected = [(np.array(largest) >= t - 1e-9).mean() for t in seen]
    np.testing.assert_allclose(max_t(differences).ravel(), expected)


def test_one_head_agrees_with_scipys_permutation_test(random):
    differences = random.normal(0.4, 1, (9, 1))
    theirs = permutation_test((differences[:, 0],), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert max_t(differences)[0] == pytest.approx(theirs.pvalue)


def test_random_signs_come_near_to_all_signs(random):
    differences = random.normal(0.3, 1, (11, *HEADS))
    exact, drawn = max_t(differences, permutations=2**11), max_t(differences, permutations=2_000)
    assert not np.array_equal(exact, drawn)
    np.testing.assert_allclose(drawn, exact, atol=0.05)


def test_heads_that_do_not_differ_have_p_of_one_and_constant_ones_the_smallest(random):
    differences = random.normal(0, 1, (8, 3))
    differences[:, 0], differences[:, 1] = 0, 0.1
    p = max_t(differences)
    assert p[0] == 1
    assert p[1] == 2 / 2**8


@pytest.mark.parametrize("problems", [FEWEST_PROBLEMS - 1, FEWEST_PROBLEMS])
def test_the_fewest_problems_are_those_of_the_test_and_of_an_interval(problems, random):
    enough = problems == FEWEST_PROBLEMS
    assert (max_t(np.full((problems, 1), 0.1))[0] < 0.05) == enough
    draws = random.normal(size=(100_000, problems))
    covered = ((draws.min(axis=1) < 0) & (draws.max(axis=1) > 0)).mean()
    assert (covered >= 0.95) == enough


def test_without_a_difference_the_family_wise_error_holds(random):
    # Heads that hang together, as heads do, and heavy tails; an array as two equal students would leave it.
    problems, heads, repetitions, wrong = 12, 40, 2_000, 0
    for _ in range(repetitions):
        common = random.normal(size=(problems, 1))
        differences = (0.5 * common + random.standard_t(4, (problems, heads))) * random.uniform(0.1, 3, heads)
        wrong += max_t(differences, permutations=400, seed=int(random.integers(2**31))).min() <= 0.05
    assert 0.02 < wrong / repetitions <= 0.06


LENGTHS = (7, 8, 9, 11, 13, 17, 19, 23)
"""Numbers of answers whose least common multiple is in the hundreds of millions."""


def uneven(lengths, groups=8, shares=(0.6, 0.5)):
    """Shares of correct answers of two students, with the group of each problem, and a common denominator."""
    random = np.random.default_rng(6)
    counts = np.resize(lengths, groups * len(lengths))
    a, b = (random.binomial(counts, share) / counts for share in shares)
    return a, b, np.repeat(np.arange(groups), len(lengths)).tolist(), math.lcm(*lengths)


def test_groups_of_problems_with_many_different_numbers_of_answers_are_tested_over_all_signs():
    a, b, groups, denominator = uneven(LENGTHS)
    totals = np.bincount(groups, a - b)
    expected = permutation_test((totals,), np.sum, permutation_type="samples", n_resamples=np.inf).pvalue
    test = clustered_test(a, b, groups, denominator)
    assert test.p == pytest.approx(expected)
    assert test.smallest_p == 2.0**-7


def test_numbers_of_answers_whose_common_multiple_no_float_holds_are_tested():
    lengths = range(1, 1000)
    a, b, groups, denominator = uneven(lengths, 3, (0.5, 0.5))
    assert denominator > 10**400
    assert 0 < sign_flip_p(a - b, denominator) <= 1
    assert paired_means_test(a, b, denominator).p == sign_flip_p(a - b, denominator)
    test = clustered_test(a, b, groups, denominator)
    assert test.p >= test.smallest_p == 0.25
    assert clustered_test(a, a, groups, denominator).p == 1


def test_a_sign_flip_test_without_a_small_denominator_enumerates_few_patterns():
    differences = np.array([0.3, 0.1, 0.25, 0.125, -0.01])
    assert sign_flip_p(differences, 2**60) == sign_flip_p(differences, 1000) == 4 / 32


def test_a_few_large_differences_without_a_common_divisor_build_no_large_arrays():
    differences = np.array([20_000_003, -10_000_019, 7])
    tracemalloc.start()
    p = sign_flip_p(differences)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert p == 6 / 8
    assert peak < 10**6
