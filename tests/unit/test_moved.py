from types import SimpleNamespace

import numpy as np
import pytest

from kdprobe.probing.attention.moved import compare, effects, moved, moved_definition, moved_sentence, verdicts
from kdprobe.probing.attention.threshold import Threshold, movement_threshold, seed_differences
from kdprobe.students.replicates import by_arm, named_replicate

PROBLEMS, LAYERS, HEADS = 12, 2, 3


def measured(**shifts):
    """Students on the same problems; each is the base plus a little noise and a shift of single heads."""
    random = np.random.default_rng(0)
    base = random.normal(1, 0.3, (PROBLEMS, LAYERS, HEADS))
    students = {"base": {"entropy": base}}
    for name, shift in shifts.items():
        values = base + random.normal(0, 0.001, base.shape)
        for head, by in shift.items():
            values[:, *head] += by
        students[name] = {"entropy": values}
    return students


def compared(students, arms=None):
    arms = arms or {name: [name] for name in list(students)[1:]}
    return compare(students, arms, ["entropy"], permutations=10_000, seed=0)


def test_seeds_of_an_arm_belong_together():
    replicates = [
        SimpleNamespace(name=name, arm=named_replicate(name)[0])
        for name in ("none@0", "untrained", "none@1", "a@b", "x@2")
    ]
    assert by_arm(replicates) == {
        "none": ["none@0", "none@1"],
        "untrained": ["untrained"],
        "a@b": ["a@b"],
        "x": ["x@2"],
    }
    assert named_replicate("none@13") == ("none", 13)


def test_heads_move_by_effect_and_never_by_p_alone():
    # Head (0, 1) changes by next to nothing, but in every problem: significant, and not moved.
    (comparison,) = compared(measured(student={(1, 2): -0.4, (0, 1): 0.004, (0, 0): 0.2}))
    assert comparison.p[0, 1] < 0.01
    assert moved(comparison, Threshold(0.05, stated=True)) == [(1, 2), (0, 0)]


def test_a_large_effect_in_one_problem_alone_is_not_enough():
    students = measured(student={})
    students["student"]["entropy"][0, 1, 1] += 30
    (comparison,) = compared(students)
    assert comparison.effect.value[1, 1] > 2
    assert moved(comparison, Threshold(0.05, stated=True)) == []


def test_what_another_seed_changes_is_the_bar():
    students = measured(**{"arm@0": {(0, 0): 0.5, (1, 1): 0.3}, "arm@1": {(0, 0): 0.5, (1, 1): 0.1}})
    arms = {"arm": ["arm@0", "arm@1"]}
    bar = movement_threshold(seed_differences(effects(students, "entropy"), arms), 0.05)
    assert bar.value == pytest.approx(0.2, abs=0.01)
    assert not bar.stated
    (comparison,) = compared(students, arms)
    assert comparison.arm == "arm"
    assert comparison.effect.value[1, 1] == pytest.approx(0.2, abs=0.002)
    assert moved(comparison, bar)[0] == (0, 0)
    assert (
        "the largest change that a different seed caused in any head" in moved_definition([comparison], bar, "nats")[0]
    )


def test_the_stated_effect_is_the_bar_where_seeds_change_less():
    assert movement_threshold([], 0.05) == Threshold(0.05, stated=True)
    assert movement_threshold([np.full((2, 2), -0.01)], 0.05) == Threshold(0.05, stated=True)


def test_a_sentence_says_that_none_moved_and_what_moved_most():
    bar = Threshold(0.05, stated=True)
    (comparison,) = compared(measured(student={(1, 0): 0.01}))
    sentence = moved_sentence(comparison, bar, "nats")
    assert "student compared with base: no head moved" in sentence
    assert "The largest change is in layer 1, head 0 (+0.010 nats" in sentence
    (comparison,) = compared(measured(student={(1, 0): -0.3}))
    sentence = moved_sentence(comparison, bar, "nats")
    assert "1 of 6 heads moved: layer 1, head 0 (-0.300 nats" in sentence


def test_what_moved_means_is_said_once():
    students = measured(one={(1, 0): -0.3}, two={})
    (sentence,) = moved_definition(compared(students), Threshold(0.05, stated=True), "nats")
    assert sentence == (
        '"Moved" means that a head\'s entropy changed by at least 0.05 nats, the smallest effect of interest, and that '
        "p is at most 0.05 in a test over problems (not over seeds). These are observed differences, not evidence of "
        "causation."
    )
    assert moved_definition([], Threshold(0.05, stated=True), "nats") == []


def test_identical_students_have_not_moved_whatever_the_bar():
    (comparison,) = compared({"base": measured()["base"], "twin": measured()["base"]})
    assert moved(comparison, Threshold(0.0, stated=True)) == []


def test_one_prompt_has_effects_and_no_test():
    students = {name: {"entropy": values["entropy"][:1]} for name, values in measured(student={(0, 2): 1.0}).items()}
    (comparison,) = compared(students)
    assert np.isnan(comparison.p).all()
    assert moved(comparison, Threshold(0.5, stated=True)) == [(0, 2)]
    (sentence,) = moved_definition([comparison], Threshold(0.5, stated=True), "nats")
    assert "there is only one prompt, so there is no test" in sentence


def test_heads_without_a_value_are_left_out_of_the_test():
    students = measured(student={(1, 2): -0.4})
    for values in students.values():
        values["entropy"][:, 0] = np.nan
    (comparison,) = compared(students)
    assert np.isnan(comparison.p[0]).all()
    assert comparison.p[1, 2] < 0.01
    assert moved(comparison, Threshold(0.05, stated=True)) == [(1, 2)]


def test_too_few_problems_for_any_p_are_told():
    students = {name: {"entropy": values["entropy"][:4]} for name, values in measured(student={(0, 2): 1.0}).items()}
    (comparison,) = compared(students)
    assert moved(comparison, Threshold(0.5, stated=True)) == []
    (sentence,) = moved_definition([comparison], Threshold(0.5, stated=True), "nats")
    assert "with 4 problems, p cannot reach 0.05" in sentence


def test_heads_of_too_few_problems_are_neither_moved_nor_unmoved():
    students = {name: {"entropy": values["entropy"][:5]} for name, values in measured(student={(0, 2): 1.0}).items()}
    (comparison,) = compared(students)
    assert (verdicts(comparison, Threshold(0.5, stated=True)) == None).all()  # noqa: E711 - element by element
    assert "5 problems are too few to tell whether a head moved" in moved_sentence(
        comparison, Threshold(0.5, stated=True), "nats"
    )
    # All five changed alike, and p is still the smallest that five problems can give.
    assert comparison.p[0, 2] == pytest.approx(2 / 2**5)


def test_problems_on_which_the_metric_is_undefined_do_not_count():
    students = measured(student={(0, 2): 1.0})
    for values in students.values():
        values["entropy"][5:] = np.nan
    (comparison,) = compared(students)
    assert comparison.problems == 5
    assert not comparison.decidable
    (sentence,) = moved_definition([comparison], Threshold(0.5, stated=True), "nats")
    assert "with 5 problems, p cannot reach 0.05" in sentence
    for values in students.values():
        values["entropy"][:] = np.nan
    (comparison,) = compared(students)
    assert moved_sentence(comparison, Threshold(0.5, stated=True), "nats") == (
        "student compared with base: entropy is not defined on any problem, so no head can be tested."
    )


def test_a_head_that_differs_on_too_few_problems_cannot_be_told():
    bar = Threshold(0.05, stated=True)
    students = measured(student={(1, 2): -0.4})
    base, student = (students[name]["entropy"] for name in ("base", "student"))
    # Large on 5 of 12 problems, and nothing on the rest: the test sees five signs. On 6 of them, it can tell.
    student[:, 0] = base[:, 0]
    student[:5, 0, 0] += 1.0
    student[:6, 0, 1] += 1.0
    # Large, and without a value on one problem.
    student[:, 1, 0] += 1.0
    student[0, 1, 0] = np.nan
    # Without any value.
    student[:, 1, 1] = np.nan
    (comparison,) = compared(students)
    assert comparison.p[0, 0] >= 2 / 2**5
    assert verdicts(comparison, bar).tolist() == [[None, comparison.p[0, 1] <= 0.05, False], [None, None, True]]
    assert "2 other heads changed enough but could not be tested" in moved_sentence(comparison, bar, "nats")
    # Their effect is too small for a head that moved, whatever p is.
    assert verdicts(comparison, Threshold(2.0, stated=True)).tolist() == [[False] * 3, [False, None, False]]
