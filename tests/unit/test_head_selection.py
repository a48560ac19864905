"""Heads selected on some problems and measured on others: by hand, and under null effects."""

import numpy as np
import pytest

from kdprobe.probing.interventions.joint_effects import random_sets
from kdprobe.probing.interventions.random_control import random_control
from kdprobe.probing.interventions.sweep import Sweep
from kdprobe.probing.selection import (
    Selection,
    folds_of,
    select_heads,
    selected_before,
    selected_in_resamples,
    selected_without,
)

VALUES = np.array([[9.0, 0.0, 1.0], [0.0, 5.0, 1.0], [0.0, 6.0, 1.0], [0.0, 0.0, 1.0]])


def test_problems_are_dealt_to_folds():
    assert folds_of(7, 3).tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert folds_of(2, 5).tolist() == [0, 1]
    assert folds_of(1, 5).tolist() == [0]


def test_a_fold_is_not_asked_what_it_is_measured_with():
    folds = folds_of(4, 4)
    # Without problem 0, the first column is worth nothing.
    assert list(selected_without(VALUES, 1, folds)) == [[1], [0], [0], [1]]
    assert list(selected_without(VALUES, 2, folds)) == [[1, 2], [0, 1], [0, 1], [1, 0]]
    # Fold 1 knows only fold 0, and so on.
    assert list(selected_before(VALUES, 1, folds)) == [[0], [0], [1]]
    assert list(selected_before(VALUES, 1, folds_of(1, 4))) == []


def test_resamples_that_select_a_column():
    # Column 1 is selected unless all three problems drawn are the first.
    values = np.array([[1.0, 0.0], [0.0, 9.0], [0.0, 9.0]])
    shares = selected_in_resamples(values, 1)
    assert shares.sum() == pytest.approx(1)
    assert shares[0] == pytest.approx(1 / 27, abs=0.015)
    np.testing.assert_allclose(selected_in_resamples(values, 2), 1)
    # What has no value comes last.
    assert selected_in_resamples(np.array([[np.nan, -1.0], [np.nan, -2.0]]), 1).tolist() == [0, 1]


def selection_of(screened, exact, folds=3):
    return select_heads(screened, together=1, exact=exact, folds=folds, seed=0)


def test_leading_heads_lead_whichever_fold_is_left_out():
    heads = [(0, 0), (0, 1), (0, 2)]
    effects = np.array([[5.0, 4.0, 0.0], [5.0, 0.0, 1.0], [5.0, 0.0, 1.0]])
    selection = selection_of(effects[:, None], exact=3)
    assert selection.leading(heads, effects, 1) == [0]
    # Without the first problem, head 1 has no effect; without another one, it has more than head 2.
    assert selection.leading(heads, effects, 2) == [0]
    assert selection.leading(heads, effects, 3) == [0, 1, 2]
    # A head that some fold's other problems would not have run exactly doesn't lead.
    assert selection_of(effects[:, None], exact=2).leading(heads, effects, 3) == [0]
    # With one problem, there is nothing to leave out.
    assert selection_of(effects[:1, None], exact=3).leading(heads, effects[:1], 2) == [0, 1]


def test_heads_that_were_not_selected_by_their_effects_may_lead():
    heads, effects = [(0, 0), (0, 1)], np.array([[1.0, 5.0], [1.0, 5.0]])
    # The screen has it wrong: head 1 comes last by its estimates.
    selection = selection_of(np.array([[[1.0, -1.0]], [[1.0, -1.0]]]), exact=1, folds=2)
    assert selection.leading(heads, effects, 1) == [0]
    assert selection.leading(heads, effects, 1, chosen=[(0, 1)]) == [1]


def test_nothing_selects_heads_that_change_nothing():
    selection = selection_of(np.zeros((3, 2, 2)), exact=2)
    assert selection.without == [[], [], []]
    assert not selection.resamples.any()
    assert [len(heads) for heads in selection.before] == [1, 1]


def test_one_problem_is_not_tested():
    effects = np.array([[[3.0, 1.0, 0.5, 0.2]]])
    control = random_control(swept(effects, effects, top=1, folds=5), "top", 1, seed=0)
    assert (control.effect, len(control.random), control.problems) == (3, 0, 1)
    assert np.isnan(control.p)
    assert "random" not in control.sentence("the head")


def swept(screened, effects, *, top, folds, sets=19, seed=0):
    """A sweep over additive effects, `[problem, layer, head]`, that are large if positive."""
    flat, of = screened.reshape(len(screened), -1), folds_of(len(screened), folds)
    before = [[divmod(column, screened.shape[2]) for column in chosen] for chosen in selected_before(flat, top, of)]
    selection = Selection(of, [], before, [], np.zeros(screened.shape[1:]))

    def joint(heads):
        together = effects[:, [layer for layer, _ in heads], [head for _, head in heads]].sum(axis=1)
        return np.stack([together, together], axis=-1)

    first = [divmod(int(index), screened.shape[2]) for index in np.argsort(-flat.mean(axis=0))[:top]]
    measured = joint(first)
    if selection.before:
        measured = np.full_like(measured, np.nan)
        for fold, heads in enumerate(selection.before, start=1):
            measured[selection.folds == fold] = joint(heads)[selection.folds == fold]
    drawn = random_sets(first, screened.shape[1:], sets, same_layers=False, seed=seed)
    random = np.stack([joint(heads) for heads in drawn], axis=1)
    nothing = np.zeros((len(effects), 0, 2))
    compared = {"top": random} if selection.before else {}
    return Sweep(screened[..., None], [], nothing, {"top": first}, {"top": measured}, compared, selection)


def noise(draw, shape):
    return draw.normal(size=shape)


def heavy(draw, shape):
    return draw.standard_t(2, size=shape)


def unequal(draw, shape):
    """Problems on which every effect is large, and others."""
    return draw.normal(size=shape) * np.exp(draw.normal(size=(shape[0], 1, 1)))


@pytest.mark.parametrize(
    ("effects_of", "problems", "shape", "top"),
    [(noise, 6, (30, 9), 4), (heavy, 20, (5, 8), 4), (unequal, 8, (5, 8), 8), (noise, 2, (2, 8), 2)],
)
def test_heads_like_any_others_rarely_stand_out(effects_of, problems, shape, top):
    draw, found, same = np.random.default_rng(problems), 0, 0
    repetitions = 2_000
    for seed in range(repetitions):
        effects = effects_of(draw, (problems, *shape))
        sweep = swept(effects, effects, top=top, folds=5, seed=seed)
        found += random_control(sweep, "top", 1, seed=0).stands_out
        # Selected and measured on the same problems, they nearly always would.
        same += sum(effects.mean(axis=0)[layer, head] for layer, head in sweep.sets["top"]) > max(
            sweep.random["top"][..., 0].mean(axis=0)
        )
    # Three standard errors above 5%.
    assert found / repetitions <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / repetitions)
    assert same / repetitions > 0.8


def test_heads_that_matter_stand_out():
    draw, found = np.random.default_rng(0), 0
    for seed in range(50):
        effects = draw.normal(size=(10, 6, 8))
        effects[:, 3, :4] += 3
        found += random_control(swept(effects, effects, top=4, folds=5, seed=seed), "top", 1, seed=0).stands_out
    assert found == 50
