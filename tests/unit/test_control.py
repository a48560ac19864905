"""The control of `heads`: heads moved by random updates, counted like those of a student."""

import numpy as np
import pytest

from kdprobe.probing.attention.control import Control, Controls, control
from kdprobe.probing.attention.moved import compare, count_moved, moved
from kdprobe.probing.attention.threshold import Threshold
from kdprobe.probing.options import HeadsOptions
from kdprobe.stats.p_values import FEWEST_DRAWS

PROBLEMS, LAYERS, HEADS = 6, 3, 5
BAR = Threshold(0.05, stated=True)
OPTIONS = HeadsOptions(permutations=100)


def updates(random, count, shift=0.0):
    """Differences of students whose updates have random directions, `[update, problem, layer, head]`.

    Each update changes every head by its own amount on all problems, and by a little more or less on each; a shift
    changes all heads further, in the direction of their change.
    """
    size = random.gamma(2.0, 0.02, (count, 1, LAYERS, HEADS)) * random.gamma(4.0, 0.25, (count, 1, 1, 1))
    sign = random.choice([-1.0, 1.0], size.shape)
    return sign * (size + shift) + random.normal(0, 0.005, (count, PROBLEMS, LAYERS, HEADS))


def controlled(differences):
    """The first of some updates as a student, the others as its random updates."""
    own, *drawn = differences
    (comparison,) = compare(
        {"base": {"entropy": np.zeros_like(own)}, "student": {"entropy": own}},
        {"student": ["student"]},
        ["entropy"],
        permutations=OPTIONS.permutations,
        seed=0,
    )
    return control(comparison, BAR, drawn, OPTIONS, 0)


def test_a_student_in_a_random_direction_is_beyond_its_control_in_5_percent_of_cases_at_most():
    random = np.random.default_rng(0)
    counts = np.array(
        [count_moved(update, BAR, permutations=OPTIONS.permutations, seed=0) for update in updates(random, 4_000)]
    )
    repetitions = 5_000
    beyond = 0
    for _ in range(repetitions):
        own, *drawn = random.choice(counts, FEWEST_DRAWS + 1, replace=False)
        beyond += of(own, drawn).is_beyond
    # Ties make it fewer than 5%. A rule that is never met would be no test.
    error = np.sqrt(0.05 * 0.95 / repetitions)
    assert 0.02 < beyond / repetitions <= 0.05 + 2 * error


def test_a_student_that_moved_more_heads_than_any_random_update_is_beyond_them():
    random = np.random.default_rng(1)
    planted = updates(random, 1, shift=0.2)
    found = controlled([*planted, *updates(random, FEWEST_DRAWS)])
    assert found.own == LAYERS * HEADS > found.counts.max() > 0
    assert found.is_beyond
    assert found.p == pytest.approx(1 / 20)


def test_heads_are_counted_by_the_rule_of_the_comparison():
    random = np.random.default_rng(2)
    found = 0
    for differences in updates(random, 5):
        # Heads without a value on some problems, or on any, count neither here nor there.
        differences[0, 0, 0] = np.nan
        differences[:, 1, 1] = np.nan
        (comparison,) = compare(
            {"base": {"m": np.zeros_like(differences)}, "s": {"m": differences}},
            {"s": ["s"]},
            ["m"],
            permutations=100,
            seed=3,
        )
        heads = moved(comparison, BAR)
        assert count_moved(differences, BAR, permutations=100, seed=3) == len(heads)
        found += len(heads)
    assert found


def of(own, counts, arm="student", seeds=1):
    return Control(arm, "base", 270, own, np.array(counts), seeds)


def test_an_arm_with_several_seeds_has_several_updates():
    assert of(131, [*range(4, 22), 9], "arm", seeds=3).sentence == (
        "arm: 19 draws of 3 random updates of the same size moved 12.3 of 270 heads on average (range 4 to 21); none "
        "of them moved as many heads as the 3 students' own updates did (131), so size alone does not explain that "
        "number (p = 0.050, the smallest that 19 draws can give)."
    )


def test_the_sentence_says_whether_the_count_is_beyond_the_random_updates():
    counts = [*range(4, 22), 9]
    assert of(131, counts).sentence == (
        "student: 19 random updates of the same size moved 12.3 of 270 heads on average (range 4 to 21); none of them "
        "moved as many heads as the student's own update did (131), so size alone does not explain that "
        "number (p = 0.050, the smallest that 19 random updates can give)."
    )
    within = of(20, counts)
    assert within.p == pytest.approx(3 / 20)
    assert within.sentence.endswith(
        "2 of them moved at least as many heads as the student's own update did (20), so size alone could explain "
        "that number (p = 0.15)."
    )


def test_a_student_that_moved_no_head_is_not_explained_by_its_size():
    none = of(0, [*range(18), 0])
    assert none.p == 1
    assert none.sentence == (
        "student: 19 random updates of the same size moved 8.1 of 270 heads on average (range 0 to 17); the student's "
        "own update moved none."
    )


def test_too_few_random_updates_do_not_tell():
    few = of(131, [3, 5])
    assert few.is_beyond is None
    assert few.sentence == (
        "student: 2 random updates of the same size moved 4.0 of 270 heads on average (range 3 to 5); the student's "
        "own update moved 131. A test needs at least 19 random updates."
    )
    assert "1 random update of the same size moved 3 of 270 heads; the student's own update" in of(1, [3]).sentence


def test_every_draw_is_in_the_table():
    (table,) = Controls({"a": of(3, [1, 2], "a"), "b": of(0, [0], "b")}, []).table.values()
    assert table.to_dict("list") == {
        "student": ["a", "a", "b"],
        "against": ["base"] * 3,
        "draw": [0, 1, 0],
        "moved": [1, 2, 0],
    }
    assert Controls({}, []).table == {}
    assert Controls({}, []).definition == []
