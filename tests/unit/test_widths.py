"""Intervals have a width even if all outcomes are alike, and a single value has none."""

import json
import math

import numpy as np
import pytest
from scipy.stats import norm
from statsmodels.stats.proportion import proportion_confint

from kdprobe.comparison.step_accuracy import step_accuracy, step_accuracy_difference
from kdprobe.problems.arithmetic import Arithmetic
from kdprobe.stats.bootstrap import MANY, RESAMPLES, bootstrap, mean_interval, percentile_interval
from kdprobe.stats.clustered import clustered_accuracy_interval
from kdprobe.stats.mcnemar import paired_interval, paired_test
from kdprobe.stats.permutations.sign_flips import sign_flip_p
from kdprobe.stats.pooled_shares import pooled_share_difference_interval, pooled_share_interval


def answers_file(folder, name, responses, **columns):
    file = folder / f"{name}.json"
    rows = [{"id": n, "gold": "7", "response": response} for n, response in enumerate(responses)]
    file.write_text(
        json.dumps([row | {key: values[n] for key, values in columns.items()} for n, row in enumerate(rows)])
    )
    return file


@pytest.mark.parametrize(("only_a", "only_b", "n"), [(12, 0, 12), (0, 12, 12), (11, 0, 12), (40, 0, 41), (1, 0, 1)])
def test_one_sided_outcomes_have_bonett_and_prices_interval(only_a, only_b, n):
    values = np.repeat([1.0, -1.0, 0.0], [only_a + 1, only_b + 1, n - only_a - only_b])
    half = norm.ppf(0.975) * values.std() / np.sqrt(n + 2)
    interval = paired_interval(only_a, only_b, n)
    assert interval.low == pytest.approx(max(-1, values.mean() - half))
    assert interval.high == pytest.approx(min(1, values.mean() + half))
    assert interval.high - interval.low > 0.05


@pytest.mark.parametrize("truth", [0.8, 0.95, 0.99])
def test_that_interval_holds_the_truth_where_nearly_all_outcomes_are_alike(truth):
    n, outcomes = 40, np.arange(41)
    chance = np.array([math.comb(n, k) * truth**k * (1 - truth) ** (n - k) for k in outcomes])
    intervals = [paired_interval(int(k), 0, n) for k in outcomes]
    assert np.array([interval.low <= truth <= interval.high for interval in intervals]) @ chance > 0.93


def test_outcomes_of_both_kinds_keep_the_bootstrap():
    values = np.repeat([1.0, -1.0, 0.0], [60, 20, 15])
    assert paired_interval(60, 20, 95) == mean_interval(values)
    assert paired_test([True] * 12, [False] * 12).interval == paired_interval(12, 0, 12)


def test_all_right_against_all_wrong_is_not_100_to_100(tmp_path, run_cli):
    right, wrong = (answers_file(tmp_path, name, [f"2 + 5 = {name[-1]}"] * 12) for name in ("a7", "b8"))
    (pair,) = json.loads(run_cli("compare", right, wrong, "--json"))["pairs"]
    assert (pair["difference"], pair["interval"]["high"]) == (1, 1)
    assert pair["interval"]["low"] == pytest.approx(0.587, abs=0.001)
    # Of the steps, each of its own student: Wilson's over twelve answers, widened for so few, and put together.
    assert pair["arithmetic"]["difference"] == 1
    assert 0.5 < pair["arithmetic"]["interval"]["low"] < 0.7
    assert pair["arithmetic"]["interval"]["high"] == 1


@pytest.mark.parametrize("right", [0, 1])
def test_one_sided_shares_of_steps_have_wilsons_interval_over_answers(right):
    one = step_accuracy([Arithmetic(3, 3 * right)] * 20 + [Arithmetic(0, 0)] * 5)
    same = clustered_accuracy_interval([bool(right)] * 60, np.repeat(np.arange(20), 3).tolist())
    assert one.share == right
    assert (one.interval.low, one.interval.high) == pytest.approx((same.low, same.high))
    low, high = proportion_confint(20 * right, 20, method="wilson")
    assert one.interval.low <= low < high <= one.interval.high
    nearly = step_accuracy([Arithmetic(3, 3 * right)] * 20 + [Arithmetic(1, 1 - right)])
    assert nearly.interval.low < nearly.share < nearly.interval.high
    assert nearly.interval.high - nearly.interval.low > 0.08


def test_steps_that_are_alike_in_every_answer_have_an_interval():
    half = step_accuracy([Arithmetic(2, 1)] * 30)
    assert half.interval.low < 0.45
    assert half.interval.high > 0.55


@pytest.mark.parametrize("answers", [[], [Arithmetic(1, 1)], [Arithmetic(5, 4), Arithmetic(0, 0)], [Arithmetic(0, 0)]])
def test_a_single_answer_that_calculates_has_no_interval(answers):
    one, many = step_accuracy(answers), [Arithmetic(2, 1)] * len(answers)
    assert not one.interval.known
    assert not step_accuracy_difference(answers, many).interval.known
    assert not step_accuracy_difference(many, answers).interval.known


def test_a_difference_of_one_sided_steps_is_put_together_from_both_intervals():
    a = np.array([[2.0, 2.0]] * 20)
    b = np.array([[2.0, 1.0]] * 10 + [[2.0, 2.0]] * 10)
    alone = pooled_share_interval(a), pooled_share_interval(b)
    interval = pooled_share_difference_interval(a, b)
    assert interval.low == pytest.approx(0.25 - math.hypot(1 - alone[0].low, alone[1].high - 0.75))
    assert interval.high == pytest.approx(0.25 + math.hypot(alone[0].high - 1, 0.75 - alone[1].low))
    back = pooled_share_difference_interval(b, a)
    assert (back.low, back.high) == pytest.approx((-interval.high, -interval.low))


def test_that_difference_holds_the_truth():
    random, held = np.random.default_rng(0), 0
    for _ in range(300):
        a, b = (np.stack([np.full(25, 2.0), random.binomial(2, p, 25)], axis=1).astype(float) for p in (0.97, 0.9))
        interval = pooled_share_difference_interval(a, b)
        held += interval.low <= 0.07 <= interval.high
    assert held / 300 > 0.93


def test_one_problem_has_no_interval_of_log_p_anywhere(tmp_path, run_cli):
    files = [answers_file(tmp_path, name, ["7"], log_p_gold_value=[-p]) for name, p in (("a", 2.0), ("b", 3.5))]
    data = json.loads(run_cli("compare", *files, "--json"))
    assert data["arms"][0]["log_p_interval"] == data["pairs"][0]["log_p_interval"] == {"low": None, "high": None}
    assert (data["arms"][0]["log_p_gold_value"], data["pairs"][0]["log_p_difference"]) == (-2, 1.5)
    told = " ".join(run_cli("compare", *files).split())
    assert "-2.00, no interval" in told
    assert "+1.50, no interval" in told
    assert "nan" not in told
    assert not mean_interval(np.array([3.0])).known


def test_equal_log_p_has_no_interval_of_width_zero(tmp_path, run_cli):
    files = [
        answers_file(tmp_path, name, ["7"] * 12, log_p_gold_value=[-p] * 12) for name, p in (("a", 1.0), ("b", 2.0))
    ]
    data = json.loads(run_cli("compare", *files, "--json"))
    assert data["arms"][0]["log_p_interval"] == data["pairs"][0]["log_p_interval"] == {"low": None, "high": None}
    assert "log p(gold value) is +1.00 nats (no interval)." in " ".join(run_cli("compare", *files).split())


@pytest.mark.parametrize("n", [2, 5, 9])
def test_the_mean_of_few_values_has_an_interval_that_holds_it(n):
    drawn = np.random.default_rng(0).normal(size=(2_000, n))
    intervals = [mean_interval(values) for values in drawn]
    assert np.mean([interval.low <= 0 <= interval.high for interval in intervals]) == pytest.approx(0.95, abs=0.015)


def test_several_answers_to_one_problem_have_no_interval(tmp_path, run_cli):
    row = {"id": "1", "question": "2 + 5?", "gold": "7", "response": "2 + 5 = 7", "log_p_gold_value": -1.0}
    file = tmp_path / "one.json"
    file.write_text(json.dumps([row] * 12))
    (score,) = json.loads(run_cli("score", file, "--json"))
    none = {"low": None, "high": None}
    assert score["interval"] == score["log_p_interval"] == score["arithmetic"]["interval"] == none
    assert score["notes"] == ["The 12 answers belong to 1 problem, which is too few for an interval."]
    assert "100.0%, too few problems" in run_cli("score", file)
    # The same in all rows, but not the name of a problem.
    file.write_text(json.dumps([row | {"question": "", "gold": str(n)} for n in range(12)]))
    (score,) = json.loads(run_cli("score", file, "--json"))
    assert score["interval"]["high"] < 1


def test_all_intervals_of_repeated_answers_are_over_problems(tmp_path, run_cli):
    values = [-0.5 * n - 0.1 * n * n for n in range(12)]
    rows = [
        {"id": n, "gold": "7", "response": f"2 + 5 = {7 + n % 2}", "log_p_gold_value": value}
        for n, value in enumerate(values)
    ]
    once, thrice = tmp_path / "once.json", tmp_path / "thrice.json"
    once.write_text(json.dumps(rows))
    thrice.write_text(json.dumps([row for row in rows for _ in range(3)]))
    single, several = json.loads(run_cli("score", once, thrice, "--json"))
    assert several["log_p_interval"] == single["log_p_interval"]
    assert several["arithmetic"]["interval"] == pytest.approx(single["arithmetic"]["interval"])
    assert several["notes"] == ["The 36 answers belong to 12 problems; intervals are over problems."]


@pytest.mark.parametrize("share", [0.5, 0.0002])
def test_of_very_many_answers_like_ones_are_drawn_together(share):
    random = np.random.default_rng(1)
    steps = random.integers(0, 4, 40_000)
    counts = np.stack([steps, random.binomial(steps, 1 - share)], axis=1).astype(float)
    interval = pooled_share_interval(counts)
    drawn = percentile_interval(
        bootstrap(lambda drawn: (drawn @ counts[:, 1]) / (drawn @ counts[:, 0]), len(counts), resamples=RESAMPLES)
    )
    width = drawn.high - drawn.low
    assert (interval.low, interval.high) == pytest.approx((drawn.low, drawn.high), abs=0.1 * width)


def test_of_very_many_different_values_the_interval_is_the_normal_one():
    values = np.random.default_rng(2).gamma(2, 1, MANY + 1)
    interval, fewer = mean_interval(values), mean_interval(values[:-1])
    assert (interval.low, interval.high) == pytest.approx((fewer.low, fewer.high), abs=0.003)
    half = norm.ppf(0.975) * values.std() / np.sqrt(len(values))
    assert (interval.low, interval.high) == pytest.approx((values.mean() - half, values.mean() + half))
    random = np.random.default_rng(3)
    a, b = (
        np.stack([steps, steps * random.random(len(steps))], axis=1) for steps in random.integers(1, 90, (2, 12_000))
    )
    difference = pooled_share_difference_interval(a, b)
    few = pooled_share_difference_interval(a[:MANY], b[:MANY])
    assert difference.high - difference.low == pytest.approx((few.high - few.low) * np.sqrt(MANY / 12_000), rel=0.06)


def test_the_normal_interval_of_a_share_stays_between_zero_and_one():
    steps = np.random.default_rng(5).integers(1, 5_000, MANY + 1).astype(float)
    right = np.where(np.arange(len(steps)) < 12, 1.0, 0.0)
    steps[0] = right[0] = 500_000
    counts = np.stack([steps, right], axis=1)
    assert pooled_share_interval(counts).low == 0.0
    assert pooled_share_interval(np.stack([steps, steps - right], axis=1)).high == 1.0


def test_the_sign_flip_test_of_very_many_groups_is_the_normal_one():
    totals = np.random.default_rng(4).choice([-1, 1], 40_000, p=[0.494, 0.506])
    exact = sign_flip_p(totals[:30_000])
    z = abs(totals[:30_000].sum()) / np.sqrt(30_000)
    assert exact == pytest.approx(2 * norm.sf(z), rel=0.03)
    assert sign_flip_p(totals) == pytest.approx(2 * norm.sf(abs(totals.sum()) / 200), rel=1e-9)
