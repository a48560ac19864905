import numpy as np
import pytest
from scipy.stats import binomtest, t

from kdprobe.errors import KdprobeError
from kdprobe.stats.clustered import Groups
from kdprobe.stats.crossed import crossed_test


def students(random, seeds, n, *, spread=0.3, level=0.0, hard=None):
    """Answers [seeds, n]: harder and easier problems, better and worse seeds."""
    hard = random.normal(0, 1.5, n) if hard is None else hard
    odds = level + hard + random.normal(0, spread, (seeds, 1))
    return (random.random((seeds, n)) < 1 / (1 + np.exp(-odds))).astype(float)


def parts(a, b, groups):
    """The contributions of each side's seeds, problems and chance to the variance, by leaving out one at a time."""

    def left_out(values, names):
        if len(values) == 1:
            return 0.0
        kept = [np.mean([v for v, other in zip(values, names, strict=True) if other != name]) for name in set(names)]
        return (len(kept) - 1) / len(kept) * sum((one - np.mean(values)) ** 2 for one in kept)

    seeds = [left_out([np.mean(student) for student in side], range(len(side))) for side in (a, b)]
    problems = left_out([np.mean(a[:, i]) - np.mean(b[:, i]) for i in range(a.shape[1])], groups)
    chance = 0.0
    for side in (a, b):
        for student in side:
            rest = [student[i] - student.mean() - side[:, i].mean() for i in range(side.shape[1])]
            chance += left_out(rest, groups) / max(1, len(side) * (len(side) - 1))
    return seeds, problems, chance


WORLDS = {
    "seeds apart": (3, 3, 0.6, 2.0),
    "many seeds": (6, 6, 0.1, 0.7),
    "unequal": (3, 5, 0.4, 1.0),
    "only chance": (4, 4, 0.0, 0.0),
}


def world(name):
    """Answers of both strategies."""
    seeds_a, seeds_b, spread, apart = WORLDS[name]
    random = np.random.default_rng(2)
    hard = random.normal(0, 1, 36)
    a = students(random, seeds_a, 36, spread=spread, hard=hard)
    return a, students(random, seeds_b, 36, spread=spread, hard=hard + random.normal(0, apart, 36), level=-0.5)


GROUPS = np.sort(np.random.default_rng(1).integers(0, 7, 36)).tolist()


@pytest.mark.parametrize("name", WORLDS)
@pytest.mark.parametrize("groups", [None, GROUPS], ids=["problems", "groups"])
def test_crossed_test_leaves_out_each_seed_and_each_problem(name, groups):
    a, b = world(name)
    names = groups or list(range(36))
    seeds, problems, chance = parts(a, b, names)
    added = max(0.0, problems - chance)
    variance = sum(seeds) + added
    seeds_df, problems_df = min(len(a), len(b)) - 1, Groups(names).df
    spent = sum(part**2 for part in seeds) / seeds_df + (problems**2 / problems_df if added else 0.0)
    df = max(variance**2 / spent, min(seeds_df, problems_df))
    test = crossed_test(a, b, groups)
    half = t.ppf(0.975, df) * np.sqrt(variance)
    apart = a.mean() - b.mean()
    assert test.difference == pytest.approx(apart)
    assert test.df == pytest.approx(df)
    assert (test.interval.low, test.interval.high) == pytest.approx((max(-1, apart - half), min(1, apart + half)))
    assert test.p == pytest.approx(2 * t.sf(abs(apart) / np.sqrt(variance), df))
    assert (test.n, test.groups, test.seeds_a, test.seeds_b) == (36, len(set(names)), len(a), len(b))
    assert test.spread_a == pytest.approx(np.std([student.mean() for student in a], ddof=1))
    assert test.spread_b == pytest.approx(np.std([student.mean() for student in b], ddof=1))


def test_in_some_of_these_worlds_problems_add_to_the_seeds_and_in_others_not():
    adds = {name: parts(*world(name), range(36))[1:] for name in WORLDS}
    assert {problems > chance for problems, chance in adds.values()} == {True, False}


def test_the_parts_make_up_the_variance_of_a_crossed_bootstrap():
    random = np.random.default_rng(11)
    a, b = students(random, 3, 30, spread=0.8), students(random, 4, 30, spread=0.8)
    resampled = []
    for _ in range(20_000):
        problems = random.integers(0, 30, 30)
        means = [side[random.integers(0, len(side), len(side))][:, problems].mean() for side in (a, b)]
        resampled.append(means[0] - means[1])
    seeds, problems, _ = parts(a, b, range(30))
    chance = [parts(side, np.zeros((2, 30)), range(30))[2] for side in (a, b)]
    # A bootstrap of k is short by (k - 1) / k, and has the chance of one student at one problem once more.
    expected = 29 / 30 * problems + sum(
        (len(side) - 1) / len(side) * (own + 29 / 30 * luck)
        for side, own, luck in zip((a, b), seeds, chance, strict=True)
    )
    assert np.var(resampled) == pytest.approx(expected, rel=0.04)


def test_it_holds_five_percent_where_one_seed_does_not():
    random = np.random.default_rng(12)
    wrong = {"crossed": 0, "one seed": 0}
    for _ in range(600):
        hard = random.normal(0, 1.5, 400)
        a, b = (students(random, 3, 400, spread=0.25, hard=hard) for _ in range(2))
        wrong["crossed"] += crossed_test(a, b).p < 0.05
        only_a, only_b = int((a[0] > b[0]).sum()), int((b[0] > a[0]).sum())
        wrong["one seed"] += binomtest(only_a, only_a + only_b).pvalue < 0.05
    # 600 runs at 5%: 30, with a standard deviation of 5.3.
    assert 10 <= wrong["crossed"] <= 46
    assert wrong["one seed"] > 120


def test_swapping_the_strategies_turns_the_sign_and_order_does_not_matter():
    random = np.random.default_rng(13)
    a, b = students(random, 3, 50), students(random, 4, 50, level=1.0)
    there, back = crossed_test(a, b), crossed_test(b, a)
    assert (there.difference, there.p, there.df) == pytest.approx((-back.difference, back.p, back.df))
    assert there.interval.low == pytest.approx(-back.interval.high)
    mixed = random.permutation(50)
    again = crossed_test(a[::-1][:, mixed], b[:, mixed])
    assert (again.p, again.df, again.interval.low) == pytest.approx((there.p, there.df, there.interval.low))


def test_problems_told_five_times_are_worth_no_more_than_once_when_grouped():
    random = np.random.default_rng(14)
    a, b = students(random, 3, 40), students(random, 3, 40, level=0.8)
    once = crossed_test(a, b)
    names = np.repeat(np.arange(40), 5).tolist()
    often = crossed_test(np.repeat(a, 5, axis=1), np.repeat(b, 5, axis=1), names)
    assert (often.p, often.df) == pytest.approx((once.p, once.df))
    assert (often.n, often.groups) == (200, 40)


def test_against_one_student_that_no_seed_made():
    random = np.random.default_rng(15)
    hard = random.normal(0, 1.5, 60)
    a, other = students(random, 4, 60, hard=hard, spread=0.6), students(random, 1, 60, hard=hard)[0]
    test = crossed_test(a, other)
    seeds, problems, _ = parts(a, other[None], range(60))
    chance = parts(a, np.zeros((2, 60)), range(60))[2]
    added = max(0.0, problems - chance)
    variance = seeds[0] + added
    df = variance**2 / (seeds[0] ** 2 / 3 + (problems**2 / 59 if added else 0.0))
    assert test.df == pytest.approx(max(df, 3))
    # The critical values of both parts, weighted by their variances (Cochran).
    critical = (seeds[0] * t.ppf(0.975, 3) + added * t.ppf(0.975, 59)) / variance
    assert test.interval.high - test.difference == pytest.approx(critical * np.sqrt(variance))
    assert (test.seeds_a, test.seeds_b, test.spread_b) == (4, 1, 0.0)
    assert added > 0


def test_nothing_solved_by_anyone_is_no_difference_and_no_certainty():
    test = crossed_test(np.zeros((3, 80)), np.zeros((3, 80)))
    assert (test.p, test.difference) == (1.0, 0.0)
    assert test.interval.low == -test.interval.high < -0.01


def test_all_against_nothing_is_a_difference():
    test = crossed_test(np.ones((3, 80)), np.zeros((3, 80)))
    assert test.difference == 1.0
    assert test.p < 0.001
    assert test.interval.low > 0.8
    assert test.interval.high <= 1.0


def test_rounding_is_not_taken_for_a_yardstick():
    # Every student solves a third, by other problems than the others, so only rounding makes their means differ.
    a = np.tile(np.eye(3), (1, 10))
    test = crossed_test(np.concatenate([a, np.ones((3, 3))], axis=1), np.concatenate([a, np.ones((3, 3))], axis=1))
    assert test.p == 1.0
    assert test.interval.high > 0.01


@pytest.mark.parametrize(("a", "b"), [(2, 3), (3, 2), (1, 1)])
def test_fewer_than_three_seeds_say_nothing_about_strategies(a, b):
    with pytest.raises(KdprobeError, match="too few to compare strategies"):
        crossed_test(np.ones((a, 9)), np.zeros((b, 9)))


def test_other_problems_are_refused():
    with pytest.raises(ValueError, match="a has 9 problems, but b has 8"):
        crossed_test(np.ones((3, 9)), np.zeros((3, 8)))
