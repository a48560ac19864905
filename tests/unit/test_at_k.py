"""pass@k, maj@k and tests of means over samples, against enumeration."""

from collections import Counter
from itertools import combinations, product
from statistics import fmean

import numpy as np
import pytest

from kdprobe.comparison.answers import outputs_of
from kdprobe.comparison.arms import Arm
from kdprobe.comparison.compare import compare
from kdprobe.comparison.samples.at_k import at_k_differences, at_problems
from kdprobe.comparison.samples.by_problem import by_problem
from kdprobe.errors import KdprobeError
from kdprobe.problems.extractors import Extraction, Robust
from kdprobe.stats.mcnemar import paired_test
from kdprobe.stats.permutations.sign_flips import sign_flip_p
from kdprobe.stats.samples.at_k import MOST_ANSWERS, majority_at, pass_at, shown_ks
from kdprobe.stats.samples.means import means_interval, paired_means_test

SILENT = None
"""An answer without a value."""


def chance(subset, gold):
    """The probability that a value drawn from the most frequent ones of a subset is the gold value."""
    votes = Counter(value for value in subset if value is not SILENT)
    first = [value for value, count in votes.items() if count == max(votes.values())]
    return first.count(gold) / len(first) if first else 0.0


def drawn(random, most=8):
    """Values of several answers to one problem, few enough that they tie."""
    values = random.integers(-1, 4, random.integers(1, most + 1)).tolist()
    return [SILENT if value < 0 else value for value in values]


def test_majorities_and_passes_are_those_of_all_subsets():
    random = np.random.default_rng(0)
    for _ in range(300):
        values, gold = drawn(random), 0
        votes = Counter(value for value in values if value is not SILENT)
        found = majority_at(
            [(count, count if value == gold else 0) for value, count in votes.items()], values.count(SILENT)
        )
        assert len(found) == len(values)
        for k in range(1, len(values) + 1):
            subsets = list(combinations(values, k))
            assert found[k - 1] == pytest.approx(fmean(chance(subset, gold) for subset in subsets), abs=1e-12)
            right, n = np.array([values.count(gold)]), np.array([len(values)])
            assert pass_at(right, n, k)[0] == pytest.approx(fmean(gold in subset for subset in subsets), abs=1e-12)


def test_several_values_may_count_as_correct():
    """As under an extractor with a tolerance: 2 and 3 are both correct, 0 and 1 are not."""
    random = np.random.default_rng(1)
    for _ in range(60):
        values = random.integers(0, 4, 6).tolist()
        found = majority_at([(count, count if value >= 2 else 0) for value, count in Counter(values).items()], 0)
        for k in range(1, 7):
            expected = fmean(chance(subset, 2) + chance(subset, 3) for subset in combinations(values, k))
            assert found[k - 1] == pytest.approx(expected, abs=1e-12)


def test_many_answers_are_counted_without_listing_subsets():
    # 60 of 100 answers agree on the correct value, and no two others agree: it needs one vote more than any other.
    found = majority_at([(60, 60), *[(1, 0)] * 40], 0)
    assert found[0] == pytest.approx(0.6)
    assert found[1] == pytest.approx(0.6)
    assert found[-1] == 1
    assert np.isfinite(found).all()
    most = majority_at([(20, 20), (20, 0)], MOST_ANSWERS - 40)
    assert most[-1] == pytest.approx(0.5)
    assert most[0] == pytest.approx(20 / MOST_ANSWERS)
    for votes, silent in (([(MOST_ANSWERS, 0)], 1), ([], 0)):
        with pytest.raises(ValueError, match="cannot be counted"):
            majority_at(votes, silent)


def test_answers_without_a_value_never_win_a_vote():
    assert majority_at([(1, 1)], 7)[-1] == 1
    assert majority_at([], 3).tolist() == [0, 0, 0]
    assert majority_at([(2, 0)], 6).tolist() == [0] * 8


def test_k_cannot_exceed_the_answers():
    with pytest.raises(ValueError, match="one has only 3"):
        pass_at(np.array([1, 2]), np.array([3, 4]), 4)
    assert [shown_ks(n) for n in (1, 2, 3, 8, 12)] == [[1], [1, 2], [1, 2, 3], [1, 2, 4, 8], [1, 2, 4, 8, 12]]


def flipped(differences):
    """The share of all sign patterns with a sum as large as the observed one."""
    sums = [
        sum(sign * d for sign, d in zip(signs, differences, strict=True))
        for signs in product([1, -1], repeat=len(differences))
    ]
    return fmean(abs(each) >= abs(sum(differences)) - 1e-9 for each in sums)


def test_means_are_tested_by_all_sign_patterns():
    random = np.random.default_rng(2)
    for _ in range(20):
        a, b = (random.integers(0, 9, 10) / 8 for _ in range(2))
        test = paired_means_test(a, b, 8)
        assert test.p == pytest.approx(flipped(a - b))
        assert (test.only_a, test.only_b) == ((a > b).sum(), (a < b).sum())
        assert test.difference == pytest.approx((a - b).mean())
        assert test.interval.low <= test.difference <= test.interval.high


def test_means_of_one_answer_are_tested_as_by_mcnemar():
    random = np.random.default_rng(3)
    for n in (5, 40, 300):
        a, b = (random.random(n) < 0.5 for _ in range(2))
        one, means = paired_test(a, b), paired_means_test(a, b, 1)
        assert (means.n, means.only_a, means.only_b) == (one.n, one.only_a, one.only_b)
        assert (means.p, means.difference) == pytest.approx((one.p, one.difference))
        assert (means.interval.low, means.interval.high) == pytest.approx((one.interval.low, one.interval.high))


def test_differences_without_a_small_denominator_are_tested_by_drawn_signs():
    random = np.random.default_rng(4)
    differences = random.integers(-8, 9, 12) / 8
    assert sign_flip_p(differences, 2**60) == pytest.approx(flipped(differences), abs=0.02)
    assert sign_flip_p(np.zeros(5), 2**60) == 1
    many = random.normal(0.03, 1, 5_000) / 4
    assert sign_flip_p(many, 2**60) == pytest.approx(sign_flip_p(np.round(many, 3), 1000), rel=0.05)


def test_few_problems_that_differ_have_a_cautious_interval():
    differences = np.array([0.25, -0.125, *[0.0] * 20])
    interval = means_interval(differences)
    assert interval.low < -0.05 < 0.05 < interval.high
    assert means_interval(np.zeros(8)).low < 0 < means_interval(np.zeros(8)).high


def rows(answers):
    """A row for each of the answers to each problem, whose gold value is 7."""
    return [
        {
            "id": f"p{problem}",
            "sample": index,
            "response": f"It is {value}." if value is not SILENT else "Hm.",
            "gold": "7",
        }
        for problem, values in enumerate(answers)
        for index, value in enumerate(values)
    ]


def arm(name, answers):
    return Arm(name, outputs_of(rows(answers), name))


def test_arms_are_paired_by_problem_whatever_their_samples_are_called():
    a = [[7, 7, 8, 7], [7, 1, 2, 3], [9, 9, 9, 9], [7, 7, 7, SILENT]]
    b = [[8, 7, 8, 9], [1, 2, 3, 7], [9, 9, 7, 7], [SILENT, SILENT, 7, 8]]
    compared = compare([arm("a", a), arm("b", b)], {"robust": Robust()})
    (pair,) = compared.pairs
    means = [[values.count(7) / 4 for values in side] for side in (a, b)]
    differences = np.subtract(*means)
    assert (pair.test.n, pair.samples) == (4, [4])
    assert pair.test.difference == pytest.approx(differences.mean())
    assert pair.test.p == pytest.approx(flipped(differences))
    # The order of a problem's samples decides nothing.
    turned = compare([arm("a", [values[::-1] for values in a]), arm("b", b)], {"robust": Robust()})
    assert (turned.pairs[0].test, turned.pairs[0].at_k) == (pair.test, pair.at_k)
    found = {each.measure: each for each in pair.at_k}
    for k in (2, 4):
        voted = [[fmean(chance(s, 7) for s in combinations(values, k)) for values in side] for side in (a, b)]
        assert found[f"maj@{k}"].difference == pytest.approx(np.subtract(*voted).mean())
        assert found[f"maj@{k}"].p == pytest.approx(flipped(np.subtract(*voted)))
    assert "'a' scores 12.5 points" in compared.verdict[0]
    assert "than 'b' in mean accuracy over 4 samples per problem (95%" in compared.verdict[0]


def test_problems_with_different_numbers_of_answers_count_the_same():
    a, b = [[7, 7, 7, 7], [8, 8]], [[8, 8, 8, 8], [8, 8]]
    compared = compare([arm("a", a), arm("b", b)], {"robust": Robust()})
    (pair,) = compared.pairs
    assert pair.test.difference == 0.5
    assert compared.arms[0].accuracy == pytest.approx(4 / 6)
    assert [each.measure for each in compared.arms[0].at_k] == ["pass@2", "maj@2"]
    assert (compared.arms[0].samples, pair.samples) == (4, [4])
    assert "Problems have between 2 and 4 answers each" in compared.arms[0].notes[-1]
    alone = compare([arm("a", [[7, 7, 8], [7]]), arm("b", [[7], [8]])], {"robust": Robust()})
    assert (alone.arms[0].samples, alone.arms[0].at_k) == (3, [])
    assert "than 'b' in mean accuracy over 1 or 3 samples per problem (95%" in alone.verdict[0]
    assert "is better on" in alone.verdict[0]


def test_answers_that_are_all_the_same_are_found():
    same, other = [[7, 7], [8, 8]], [[7, 8], [8, 8]]
    codes = [finding.code for finding in compare([arm("a", same), arm("b", other)], {"robust": Robust()}).findings]
    assert "identical-samples" in codes
    compared = compare([arm("a", other), arm("b", other)], {"robust": Robust()})
    assert "identical-samples" not in [finding.code for finding in compared.findings]


class Words:
    """An extractor that compares no values."""

    def extract(self, text):
        return Extraction(None, "words", None, text)

    def is_right(self, extraction, gold):
        return gold in extraction.written


def test_what_has_no_values_has_no_majority():
    compared = compare([arm("a", [[7, 8], [7, 7]]), arm("b", [[8, 8], [7, 8]])], {"words": Words()}, "words")
    assert [each.measure for each in compared.arms[0].at_k] == ["pass@2"]
    assert [each.measure for each in compared.pairs[0].at_k] == ["pass@2"]


def test_answers_that_no_column_numbers_are_not_samples():
    outputs = outputs_of(
        [{name: row[name] for name in ("id", "response", "gold")} for row in rows([[7, 7], [8, 8]])], "a"
    )
    assert outputs.samples is None
    with pytest.raises(KdprobeError, match="answers the problem 'p0' 2 times"):
        compare([Arm("a", outputs), arm("b", [[7], [8]])], {"robust": Robust()})
    twice = [*rows([[7, 8]]), *rows([[7, 8]])]
    assert outputs_of(twice, "a").samples is None


def test_ids_of_rows_are_not_those_of_problems_where_samples_are_numbered():
    unique = [{**row, "uuid": f"u{index}"} for index, row in enumerate(rows([[7, 8], [8, 8]]))]
    outputs = outputs_of(unique, "a")
    assert (outputs.ids, outputs.samples) == (["p0", "p0", "p1", "p1"], [0, 1, 0, 1])
    alone = [{**row, "uuid": f"u{index}", "sample": 0} for index, row in enumerate(rows([[7], [8]]))]
    assert outputs_of(alone, "a").samples is None


@pytest.mark.parametrize("samples", [1, 4])
def test_equal_arms_differ_significantly_in_at_most_five_percent(samples):
    """Problems differ much in difficulty, and by chance in how hard they are for an arm: clusters of samples."""
    random = np.random.default_rng(5)
    rejected = 0
    for _ in range(600):
        difficulty = random.beta(0.5, 0.8, 60)
        counts = [random.binomial(samples, np.clip(difficulty + random.normal(0, 0.15, 60), 0, 1)) for _ in range(2)]
        rejected += sign_flip_p((counts[0] - counts[1]) / samples, samples) < 0.05
    # Three standard errors above 5%.
    assert rejected / 600 <= 0.05 + 3 * (0.05 * 0.95 / 600) ** 0.5


def test_differences_of_measures_are_over_shared_problems():
    sides = [arm("a", [[7, 8], [7, 7], [8, 8]]), arm("b", [[8, 8], [7, 7]])]
    values = []
    for each in sides:
        grouped = by_problem(each.outputs)
        right = np.array([text == "It is 7." for text in each.outputs.responses])
        values.append(at_problems(grouped, right, None))
    (difference,) = at_k_differences(*values, (np.array([0, 1]), np.array([0, 1])))
    assert (difference.measure, difference.difference) == ("pass@2", 0.5)
