"""Shares of a gain, random controls and rank correlations, on numbers that can be checked by hand."""

import numpy as np
import pytest
from scipy.stats import ConstantInputWarning, bootstrap, spearmanr

from kdprobe.errors import KdprobeError
from kdprobe.probing.interventions.gain import Gain
from kdprobe.probing.interventions.random_control import random_control
from kdprobe.probing.interventions.sweep import Sweep, chosen_students
from kdprobe.probing.selection import select_heads
from kdprobe.stats.rank_correlation import spearman
from kdprobe.students.student import Student


def both(values):
    """The same values for both targets, along a last axis."""
    return np.stack([values, values], axis=-1)


def test_a_share_is_the_mean_effect_over_the_mean_gain():
    gains = np.array([1.0, 3.0, 2.0, 2.0])
    gain = Gain(both(gains), np.zeros((4, 2)), seed=0)
    effects = np.stack([gains / 4, np.array([0.0, 0.0, 0.0, 8.0])], axis=1)
    share = gain.share(both(effects))
    np.testing.assert_allclose(share.value, both(np.array([0.25, 1.0])))
    # The first is a quarter of every problem's gain, whichever problems are drawn.
    np.testing.assert_allclose([share.low[0], share.high[0]], 0.25)

    def ratio(effect, total, axis):
        return effect.mean(axis=axis) / total.mean(axis=axis)

    reference = bootstrap(
        (effects[:, 1], gains),
        ratio,
        paired=True,
        method="percentile",
        n_resamples=20_000,
        rng=np.random.default_rng(1),
    ).confidence_interval
    assert share.low[1, 0] == pytest.approx(reference.low, abs=0.1)
    assert share.high[1, 0] == pytest.approx(reference.high, abs=0.2)


@pytest.mark.parametrize("gains", [[1.0, -1.0, 0.5, -0.4], [0.0, 0.0, 0.0, 0.0], [2.0]])
def test_a_gain_that_may_be_zero_has_no_shares(gains):
    gain = Gain(both(np.array(gains)), np.zeros((len(gains), 2)), seed=0)
    assert np.isnan(gain.share(both(np.ones((len(gains), 3)))).value).all()
    assert "shares of it are not reported" in gain.sentence("none", "untrained")


def test_a_loss_counts_as_gain_downwards():
    gain = Gain(np.zeros((3, 2)), both(np.array([2.0, 3.0, 4.0])), seed=0)
    assert gain.sign == -1
    np.testing.assert_allclose(gain.share(both(np.array([[-1.0], [-1.0], [-1.0]]))).value, 1 / 3)
    assert "shares of it are not reported" not in gain.sentence("none", "untrained")


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
        (-5.0, "; none has as large an effect (p = 0.20, the smallest that 4 random sets can give)."),
        (-2.5, "; 1 of them has as large an effect, so these heads do not stand out (p = 0.40)."),
        (-1.0, "; 2 of them have as large an effect, so these heads do not stand out (p = 0.60)."),
    ],
)
def test_the_sentence_agrees_with_the_number_of_sets(together, said):
    sentence = random_control(swept(together, [-3.0, -2.0, 0.0, 1.0]), "top", -1, seed=0).sentence()
    assert sentence.startswith(f"together {together:+.2f} nats")
    assert "; 4 random sets of 2 heads: median -1.00, range -3.00 to +1.00" in sentence
    assert sentence.endswith(said)
    alone = random_control(swept(together, [1.0]), "top", -1, seed=0).sentence()
    assert "; 1 random set of 2 heads: median +1.00" in alone


def test_without_random_sets_nothing_is_claimed():
    found = random_control(swept(-5.0, []), "top", -1, seed=0)
    assert np.isnan(found.p)
    assert "random" not in found.sentence()


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
