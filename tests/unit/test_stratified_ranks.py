"""Spearman's correlation within groups, against scipy and by simulation."""

import numpy as np
import pytest
import scipy

from kdprobe.stats.stratified_ranks import stratified_spearman


def by_hand(a, b, groups):
    """Products of centred ranks within groups, each group's ranks divided by its size plus one."""
    products, squares_a, squares_b = 0.0, 0.0, 0.0
    for group in set(groups):
        rows = [row for row, name in enumerate(groups) if name == group]
        ranks = [scipy.stats.rankdata(values[rows]) for values in (a, b)]
        x, y = ((rank - rank.mean()) / (len(rows) + 1) for rank in ranks)
        products, squares_a, squares_b = products + x @ y, squares_a + x @ x, squares_b + y @ y
    return products / np.sqrt(squares_a * squares_b)


def test_without_groups_it_is_spearman():
    random = np.random.default_rng(0)
    a, b = random.normal(size=(2, 30))
    b += a
    found = stratified_spearman(a, b)
    assert found.value == pytest.approx(scipy.stats.spearmanr(a, b).statistic)
    assert (found.problems, found.groups) == (30, 0)
    assert found.interval.low < found.value < found.interval.high
    assert found.p < 0.05


def test_within_groups_by_hand():
    random = np.random.default_rng(1)
    a, b = random.normal(size=(2, 24))
    groups = [f"g{index % 4 if index < 20 else 0}" for index in range(24)]
    found = stratified_spearman(a, b, groups)
    assert found.value == pytest.approx(by_hand(a, b, groups))
    rest = []
    for group in set(groups):
        kept = [row for row, name in enumerate(groups) if name != group]
        rest.append(np.arctanh(by_hand(a[kept], b[kept], [groups[row] for row in kept])))
    z = np.arctanh(found.value)
    error = np.sqrt(3 / 4 * sum((each - z) ** 2 for each in rest))
    assert found.p == pytest.approx(2 * scipy.stats.t.sf(abs(z) / error, 3))
    expected = np.tanh(z + scipy.stats.t.ppf(0.975, 3) * error * np.array([-1, 1]))
    assert (found.interval.low, found.interval.high) == pytest.approx(tuple(expected))


def test_templates_that_differ_are_no_association():
    """All templates agree on what is large, but within each, the two go opposite ways."""
    a = np.array([group * 100 + index for group in range(5) for index in range(8)], dtype=float)
    b = np.array([group * 100 - index for group in range(5) for index in range(8)], dtype=float)
    groups = [group for group in range(5) for _ in range(8)]
    assert scipy.stats.spearmanr(a, b).statistic > 0.8
    assert stratified_spearman(a, b, groups).value == pytest.approx(-1)


@pytest.mark.parametrize(("groups", "problems"), [(0, 40), (4, 80), (8, 40)])
def test_a_planted_association_is_found(groups, problems):
    random = np.random.default_rng(2)
    names = [index % groups for index in range(problems)] if groups else None
    a = random.normal(size=problems)
    found = stratified_spearman(a, a + 0.5 * random.normal(size=problems), names)
    assert found.value > 0.7
    assert found.interval.low > 0
    assert found.p < 0.05


@pytest.mark.parametrize(("problems", "groups", "seeds"), [(16, 0, 1), (40, 0, 3), (80, 4, 1), (80, 4, 3), (24, 8, 1)])
def test_without_an_association_at_most_one_in_twenty_is_significant(problems, groups, seeds):
    """Templates and problems shift both values, independently; 2,000 repetitions."""
    random, names = np.random.default_rng(3), np.arange(problems) % max(groups, 1)
    significant = 0
    for _ in range(2_000):
        a, b = (random.normal(size=max(groups, 1))[names] * 2 + random.standard_t(3, size=problems) for _ in range(2))
        rows = b + 0.5 * random.normal(size=(seeds, problems))
        significant += stratified_spearman(a, rows, names.tolist() if groups else None).p <= 0.05
    # 5%, and three standard errors of a share of 2,000.
    assert significant / 2_000 <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 2_000)


def test_seeds_that_disagree_widen_the_interval():
    random = np.random.default_rng(4)
    a = random.normal(size=30)
    one = a + random.normal(size=30)
    alike = stratified_spearman(a, np.stack([one, one, one]))
    unlike = stratified_spearman(a, np.stack([one * 3, one - a * 2, one * 0 + a * 2]))
    assert alike.value == pytest.approx(scipy.stats.spearmanr(a, one).statistic)
    assert alike.interval.high - alike.interval.low < unlike.interval.high - unlike.interval.low


@pytest.mark.parametrize(
    ("a", "b", "groups", "missing"),
    [
        ([1.0, 2, 3, 4, 5], [1.0, 3, 2, 4, 5], None, "few_problems"),  # too few problems
        ([1.0] * 8, list(range(8)), None, "constant"),  # nothing varies
        ([0] * 7 + [1], [0] * 7 + [1], None, "one_varies"),  # by chance in one of eight cases
        ([1.0, 2] * 4, [1.0, 2] * 4, [*"aabbccdd"], "no_spread"),  # no group differs from another
        (
            [1.0, 2, 3, 4, 5, 6, 7],
            [2.0, 1, 4, 3, 6, 5, 7],
            ["a", "b", "c", "d", "e", "f", "g"],
            "few_problems",
        ),  # alone in their groups
        ([*range(8), 0, 1], [*range(1, 9), 1, 0], [*"aaaaaaaabc"], "few_templates"),  # one group with several
    ],
)
def test_what_allows_no_conclusion_has_no_interval(a, b, groups, missing):
    found = stratified_spearman(np.array(a, dtype=float), np.array(b, dtype=float), groups)
    assert found.missing == missing
    assert not found.interval.known
    assert np.isnan(found.p)


def test_a_problem_alone_in_its_group_does_not_count():
    random = np.random.default_rng(5)
    a, b = random.normal(size=(2, 13))
    groups = [*(index % 3 for index in range(12)), "alone"]
    found, without = stratified_spearman(a, b, groups), stratified_spearman(a[:12], b[:12], groups[:12])
    assert found == without
    assert (found.problems, found.groups) == (12, 3)
