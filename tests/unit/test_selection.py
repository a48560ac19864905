import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdprobe.errors import KdprobeError
from kdprobe.transfer.selection import matched, refuse_nothing

ANSWERS = st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 4)), unique=True).map(sorted)


def test_matched_keeps_the_problems_that_all_arms_solve_and_as_many_answers_to_each():
    kept = matched({"none": [("p1", 0), ("p1", 2), ("p2", 1)], "primed": [("p1", 1), ("p3", 0)]})
    assert kept == {"none": [("p1", 0)], "primed": [("p1", 1)]}


@given(st.dictionaries(st.sampled_from("xyz"), ANSWERS, min_size=1))
def test_matched_arms_have_the_same_problems_equally_often_and_nothing_is_made_up(right):
    kept = matched(right)
    assert set(kept) == set(right)
    problems = [[problem for problem, _ in answers] for answers in kept.values()]
    assert all(other == problems[0] for other in problems)
    for arm, answers in kept.items():
        assert set(answers) <= set(right[arm])
        assert len(set(answers)) == len(answers)
    # And nothing that could have stayed is lost.
    for problem in "abcd":
        counts = [sum(answered == problem for answered, _ in answers) for answers in right.values()]
        assert problems[0].count(problem) == min(counts)


def test_one_arm_alone_keeps_all_its_right_answers():
    assert matched({"none": [("p1", 0), ("p1", 1)]}) == {"none": [("p1", 0), ("p1", 1)]}


def test_a_selection_without_answers_is_refused():
    with pytest.raises(
        KdprobeError, match="there is no problem that the teacher answered correctly under all strategies"
    ):
        refuse_nothing({"none": [], "primed": []})
    with pytest.raises(KdprobeError, match="none of the teacher's answers under 'primed' is correct"):
        refuse_nothing({"primed": []})
