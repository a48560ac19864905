import subprocess
import sys

import numpy as np
import pytest
from scipy.stats import binom, norm
from statsmodels.stats.contingency_tables import mcnemar

from kdprobe.stats.power import (
    _binomial,
    _binomial_quantile,
    detectable_difference,
    mcnemar_power,
    problems_needed,
)


def found(n, difference, share, alpha=0.05, runs=4000):
    """How often statsmodels' McNemar rejects in simulation; outcomes repeat, so each is tested once."""
    drawn = np.random.default_rng(0).multinomial(
        n, [(share + difference) / 2, (share - difference) / 2, 1 - share], size=runs
    )
    outcomes, counts = np.unique(drawn[:, :2], axis=0, return_counts=True)
    rejected = [mcnemar([[0, a], [b, 0]], exact=True).pvalue < alpha for a, b in outcomes]
    return np.average(rejected, weights=counts)


@pytest.mark.parametrize(("n", "difference", "share", "alpha"), [(80, 0.15, 0.3, 0.05), (319, 0.06, 0.15, 0.01)])
def test_power_is_what_simulation_finds(n, difference, share, alpha):
    assert mcnemar_power(n, difference, share, alpha) == pytest.approx(found(n, difference, share, alpha), abs=0.025)


def test_power_without_a_difference_stays_below_the_level():
    assert 0 < mcnemar_power(319, 0.0, 0.2) <= 0.05


def test_power_by_hand_when_all_problems_differ():
    # Of 6 discordant problems only 0 or 6 on one side give p below 0.05: 2 / 64.
    assert mcnemar_power(6, 0.0, 1.0) == pytest.approx(2 / 64)
    assert mcnemar_power(6, 0.5, 1.0) == pytest.approx(0.75**6 + 0.25**6)


@pytest.mark.parametrize("share", [0.1, 0.3])
def test_detectable_difference_is_found_with_the_power_that_was_asked_for(share):
    difference = detectable_difference(319, share)
    assert found(319, difference, share) == pytest.approx(0.8, abs=0.025)
    assert mcnemar_power(319, difference, share) == pytest.approx(0.8, abs=1e-6)
    assert detectable_difference(319, share, power=0.9) > difference
    assert detectable_difference(319, share, alpha=0.01) > difference


@pytest.mark.parametrize(("n", "share"), [(1319, 0.3), (1319, 0.1), (5000, 0.2)])
def test_detectable_difference_is_near_connors_approximation(n, share):
    # Connor (1987), for the test without continuity correction, so a little smaller.
    difference = detectable_difference(n, share)
    z_alpha, z_power = norm.ppf(0.975), norm.ppf(0.8)
    needed = (z_alpha * np.sqrt(share) + z_power * np.sqrt(share - difference**2)) ** 2 / difference**2
    assert needed == pytest.approx(n, rel=0.08)
    assert needed < n


@pytest.mark.parametrize(("n", "share"), [(1319, 0.0), (5, 1.0), (80, 0.05)])
def test_where_nothing_could_have_been_found_there_is_no_detectable_difference(n, share):
    assert detectable_difference(n, share) is None


def test_the_largest_possible_difference_can_be_just_found():
    # All six discordant problems on one side, with chance 0.8; the other side's chance is 3e-9.
    assert detectable_difference(6, 1.0) == pytest.approx(2 * 0.8 ** (1 / 6) - 1, abs=1e-6)


@pytest.mark.parametrize(("difference", "share"), [(0.05, 0.2), (0.02, 0.02), (0.3, 0.4)])
def test_problems_needed_turns_the_detectable_difference_round(difference, share):
    n = problems_needed(difference, share)
    assert mcnemar_power(n, difference, share) >= 0.8 > mcnemar_power(n - 1, difference, share)
    assert detectable_difference(n, share) <= difference


@pytest.mark.parametrize(("difference", "share"), [(0.0, 0.2), (0.3, 0.2), (0.1, 0.0)])
def test_a_difference_that_cannot_be_needs_no_number_of_problems(difference, share):
    assert problems_needed(difference, share) is None


@pytest.mark.parametrize("p", [1e-4, 0.3, 0.5, 1.0])
def test_binomial_probabilities_and_quantiles_are_those_of_scipy_stats(p):
    for n in (1, 6, 80, 1319):
        k = np.arange(-1, n + 1)
        np.testing.assert_allclose(_binomial(k, n, p), binom.cdf(k, n, p), rtol=1e-12, atol=1e-300)
    n = np.arange(400)
    for q in (1e-12, 0.0025, 0.025, 0.4, 1 - 1e-12):
        np.testing.assert_array_equal(_binomial_quantile(q, n, 0.5), binom.ppf(q, n, 0.5))


def test_power_is_computed_without_the_slow_import_of_scipy_stats():
    program = (
        "import sys; from kdprobe.stats.power import *; mcnemar_power(80, 0.1, 0.3); "
        "detectable_strategy_difference(80, 3, 0.3); sys.exit('scipy.stats' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
