"""Shares of a gain, random controls and rank correlations, on numbers that can be checked by hand."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import ConstantInputWarning, spearmanr, t, ttest_1samp

from kdprobe.errors import KdprobeError
from kdprobe.probing.interventions.gain import Gain
from kdprobe.probing.interventions.patching_report import Patched
from kdprobe.probing.interventions.patching_report import _sentence as patching_sentence
from kdprobe.probing.interventions.random_control import random_control
from kdprobe.probing.interventions.sweep import Sweep, chosen_students
from kdprobe.probing.selection import select_heads
from kdprobe.stats.crossed import crossed_test
from kdprobe.stats.crossed_means import ratio_of_means
from kdprobe.stats.rank_correlation import spearman
from kdprobe.students.student import Student


def both(values):
    """The same values for both targets, along a last axis."""
    return np.stack([values, values], axis=-1)


def test_a_share_is_the_mean_effect_over_the_mean_gain():
    gains = np.array([1.0, 3.0, 2.0, 2.0])
    gain = Gain.between(both(gains), np.zeros((4, 2)))
    effects = np.stack([gains / 4, np.array([0.0, 0.0, 0.0, 8.0])], axis=1)
    share = gain.share(both(effects)[None])
    np.testing.assert_allclose(share.value, both(np.array([0.25, 1.0])))
    # The first is a quarter of every problem's gain, whichever problems there are.
    np.testing.assert_allclose([share.low[0], share.high[0]], 0.25)


@pytest.mark.parametrize("seeds", [1, 3])
def test_the_ends_of_a_share_are_where_the_remainder_may_just_be_zero(seeds):
    """The remainder is effect - share gain; its test is scipy's, or the crossed one of a strategy against nothing."""
    random = np.random.default_rng(3)
    gains = random.normal(4, 1, size=(seeds, 8))
    effects = 0.3 * gains + random.normal(size=gains.shape) + random.normal(size=(seeds, 1)) / 2
    gain = Gain.over_seeds([Gain.between(both(each), np.zeros((8, 2))) for each in gains])
    share = gain.share(both(effects))
    assert share.low[0] < effects.mean() / gains.mean() < share.high[0]
    for end in (share.low[0], share.high[0]):
        remainder = effects - end * gains
        if seeds == 1:
            assert ttest_1samp(remainder[0], 0).pvalue == pytest.approx(0.05)
        else:
            assert crossed_test(remainder, np.zeros(8)).p == pytest.approx(0.05)


@pytest.mark.parametrize("problems", [2, 4, 6, 8, 16])
@pytest.mark.parametrize("size", [0.5, 2.0])
def test_intervals_of_shares_cover_in_19_of_20_cases_however_few_the_problems(problems, size):
    random, repetitions, true = np.random.default_rng(problems), 5_000, 0.4
    gains = random.normal(size, 1, size=(problems, repetitions))
    share = ratio_of_means((true * gains + random.normal(0, 0.5, gains.shape))[None], gains[None])
    half = t.ppf(0.975, problems - 1) * gains.std(axis=0, ddof=1) / np.sqrt(problems)
    known = np.abs(gains.mean(axis=0)) > half
    # A gain that may be zero has no share of a known size.
    np.testing.assert_array_equal(np.isfinite(share.low), known)
    covered = (share.low[known] <= true) & (true <= share.high[known])
    assert covered.mean() == pytest.approx(0.95, abs=3 * np.sqrt(0.05 * 0.95 / known.sum()))


def test_intervals_of_shares_of_strategies_cover_too():
    """Three seeds of which each has a share of its own, on eight problems."""
    random, repetitions, true = np.random.default_rng(5), 3_000, 0.4
    gains = random.normal(2, 1, size=(1, 8, repetitions)) + random.normal(0, 0.3, size=(3, 8, repetitions))
    shares = true + random.normal(0, 0.1, size=(3, 1, repetitions))
    found = ratio_of_means(shares * gains + random.normal(0, 0.5, size=gains.shape), gains)
    assert np.isfinite(found.low).mean() > 0.99
    covered = (found.low <= true) & (true <= found.high)
    assert covered.mean() > 0.94
    # Leaving out the seeds, as if the three were one, would not do.
    alone = ratio_of_means((shares * gains).mean(axis=0, keepdims=True), gains.mean(axis=0, keepdims=True))
    assert ((alone.low <= true) & (true <= alone.high)).mean() < 0.5


@pytest.mark.parametrize("gains", [[1.0, -1.0, 0.5, -0.4], [0.0, 0.0, 0.0, 0.0], [2.0]])
def test_a_gain_that_may_be_zero_has_no_shares(gains):
    gain = Gain.between(both(np.array(gains)), np.zeros((len(gains), 2)))
    assert np.isnan(gain.share(both(np.ones((1, len(gains), 3)))).value).all()
    assert "effects are not given as shares" in gain.sentence("none", "untrained")


def test_a_loss_counts_as_gain_downwards():
    gain = Gain.between(np.zeros((3, 2)), both(np.array([2.0, 3.0, 4.0])))
    assert gain.sign == -1
    np.testing.assert_allclose(gain.share(both(np.array([[[-1.0], [-1.0], [-1.0]]]))).value, 1 / 3)
    assert "effects are not given as shares" not in gain.sentence("none", "untrained")


def swept(together, random):
    """A sweep in which only the sets matter; the effects are the same on two problems."""
    nothing = np.zeros((2, 1, 4, 2))
    twice = np.broadcast_to(both(np.array(random)), (2, len(random), 2))
    top = {"top": [(0, 0), (0, 1)]}
    effects = {"top": np.full((2, 2), together), "moved": np.full((2, 2), together)}
    selection = select_heads(nothing[..., 0], together=2, exact=4, folds=5, seed=0)
    sets, random = {**top, "moved": top["top"]}, {"top": twice, "moved": twice}
    return Sweep(nothing, [], np.zeros((2, 0, 2)), sets, effects, random, selection)


@pytest.mark.parametrize(("together", "sign", "p"), [(-5, -1, 1 / 5), (-2, -1, 3 / 5), (-5, 1, 1), (1, 1, 2 / 5)])
def test_p_counts_sets_that_do_as_much(together, sign, p):
    found = random_control(swept(float(together), [-3.0, -2.0, 0.0, 1.0]), "top", sign, seed=0)
    assert found.p == pytest.approx(p)
    assert found.effect == together
    assert found.heads == 2


@pytest.mark.parametrize(
    ("together", "said"),
    [
        (-5.0, "; none is as low (p = 0.20, the smallest that 4 random sets can give)."),
        (-2.5, "; 1 of them is at least as low, so these heads do not stand out (p = 0.40)."),
        (-1.0, "; 2 of them are at least as low, so these heads do not stand out (p = 0.60)."),
    ],
)
def test_the_sentence_agrees_with_the_number_of_sets(together, said):
    sentence = random_control(swept(together, [-3.0, -2.0, 0.0, 1.0]), "top", -1, seed=0).sentence("the two heads")
    assert sentence.startswith(f"replaced together, the two heads change log p by {together:+.2f} nats")
    assert "The effects of 4 random sets of 2 heads have a median of -1.00 and range from -3.00 to +1.00" in sentence
    assert sentence.endswith(said)


@pytest.mark.parametrize(
    ("random", "said"),
    [
        (1.0, "+1.00, which is not as low (p = 0.50, the smallest that 1 random set can give)."),
        (-3.0, "-3.00, which is at least as low, so these heads do not stand out (p = 1.00)."),
    ],
)
def test_a_single_random_set_is_not_several(random, said):
    sentence = random_control(swept(-2.0, [random]), "top", -1, seed=0).sentence("the two heads")
    assert sentence.endswith(f"The effect of 1 random set of 2 heads is {said}")


@pytest.mark.parametrize(
    ("into", "carrying", "said"),
    [
        (
            "base",
            [0.5, -2.0],
            "the single head that shifts log p most in the direction of the gain is layer 0, head 0 (+0.50",
        ),
        (
            "base",
            [-0.5, -2.0],
            "none of the heads whose effects were computed exactly shifts log p in the direction of the",
        ),
        ("s", [-0.5, 2.0], "the single head that shifts log p most against the gain is layer 0, head 0 (-0.50"),
        ("s", [-0.5, -2.0], "the single heads that shift log p most against the gain are layer 0, head 1 (-2.00"),
        ("s", [0.5, 2.0], "none of the heads whose effects were computed exactly shifts log p against the gain."),
    ],
)
def test_patching_names_the_direction_in_which_a_head_that_carries_gain_shifts(into, carrying, said):
    """Patched into the trained student, such a head takes gain away."""
    sweep = replace(
        swept(-1.0, []),
        heads=[(0, 0), (0, 1)],
        exact=both(np.tile(carrying, (2, 1))),
        together={"every": np.ones((2, 2))},
    )
    gain = Gain.between(np.full((2, 2), 4.0), np.zeros((2, 2)))
    source, sign = ("s", 1) if into == "base" else ("base", -1)
    assert said in patching_sentence(Patched("s", source, into, gain, sign, sweep), seed=0)


def test_without_random_sets_nothing_is_claimed():
    found = random_control(swept(-5.0, []), "top", -1, seed=0)
    assert np.isnan(found.p)
    assert "random" not in found.sentence("the two heads")


def test_students_are_chosen_by_name_or_arm():
    names = {"untrained": "untrained", "none@0": "none", "none@1": "none", "primed@0": "primed"}
    students = [Student(name, None, arm=arm) for name, arm in names.items()]
    assert chosen_students(students, [], "ablation") == students
    assert chosen_students(students, ["none"], "ablation") == students[1:3]
    assert chosen_students(students, ["none@1", "untrained"], "ablation") == [students[0], students[2]]
    with pytest.raises(KdprobeError, match="'ablation' names an unknown student 'primed@1'"):
        chosen_students(students, ["primed@1"], "ablation")


def test_spearman_with_the_interval_of_bonett_and_wright():
    random = np.random.default_rng(0)
    one = random.normal(size=60)
    other = one + random.normal(size=60)
    correlation, interval = spearman(one, other)
    assert correlation == pytest.approx(spearmanr(one, other).statistic)
    half = 1.959964 * np.sqrt((1 + correlation**2 / 2) / 57)
    assert np.arctanh(interval.high) - np.arctanh(correlation) == pytest.approx(half, rel=1e-5)
    assert np.arctanh(correlation) - np.arctanh(interval.low) == pytest.approx(half, rel=1e-5)
    for heads in range(4, 60):
        changed = np.exp(one[:heads])
        for order, sign in ((changed, 1.0), (-changed, -1.0)):
            correlation, interval = spearman(one[:heads], order)
            assert (correlation, interval.low, interval.high) == (sign, sign, sign)
    with pytest.warns(ConstantInputWarning):
        assert np.isnan(spearman(np.ones(9), np.ones(9))[0])
