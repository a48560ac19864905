"""The problems that decide a comparison."""

import numpy as np
import pytest

from kdprobe.comparison.answers import Outputs
from kdprobe.comparison.arms import Arm
from kdprobe.problems.extractors import Robust
from kdprobe.report.deciding import deciding_problems
from kdprobe.report.headline import Side
from kdprobe.report.payload.answers import shown_answers
from kdprobe.report.payload.arms import shown_arms


def arm(name, right, log_p=None, **fields):
    answers = ["The answer is 7." if each else "The answer is 8." for each in right]
    ids = [f"p{index}" for index in range(len(answers))]
    return Arm(name, Outputs("file", answers, ["7"] * len(answers), ids, log_p_gold_value=log_p, **fields))


def deciding(a, b):
    """What decides between the arms `a` and `b`."""
    arms = [*a, *b]
    sides = Side("a", [each.name for each in a]), Side("b", [each.name for each in b])
    return deciding_problems(shown_answers(arms, Robust()), shown_arms(arms), sides)


def test_of_many_problems_the_two_with_the_largest_difference_for_the_winner_are_shown():
    a = arm("a", [True, True, True, True, False], [-1.0, -1.0, -1.0, -1.0, -9.0])
    b = arm("b", [False, False, False, True, True], [-2.0, -4.0, -3.0, -9.0, -0.1])
    found = deciding([a], [b])
    assert found.sentence == (
        "3 problems were solved only by 'a', and 1 only by 'b'. Of the 3 solved only by 'a', the two where "
        "log p(gold value) differs most:"
    )
    assert [problem.id for problem in found.shown] == ["p1", "p2"]
    assert found.shown[0].gold == "7"
    assert found.shown[0].answers == ["a answers 7 (right)", "b answers 8 (wrong)"]
    assert [problem.id for problem in deciding([b], [a]).shown] == ["p1", "p2"], (
        "the order of the sides does not matter"
    )


def test_a_few_problems_are_all_shown():
    found = deciding([arm("a", [True, False, True])], [arm("b", [False, True, True])])
    assert found.sentence == "1 problem was solved only by 'a', and 1 only by 'b'."
    assert [problem.id for problem in found.shown] == ["p0", "p1"]


def test_without_log_p_the_first_ones_are_shown():
    found = deciding([arm("a", [True] * 5)], [arm("b", [False] * 5, [-1.0] * 5)])
    assert found.sentence == (
        "5 problems were solved only by 'a', and none only by 'b'. Of the 5 solved only by 'a', the first two:"
    )
    assert [problem.id for problem in found.shown] == ["p0", "p1"]


def test_strategies_differ_by_the_seeds_in_which_they_solve_a_problem():
    solved = {"a@0": [1, 1, 0, 0, 1], "a@1": [1, 0, 1, 0, 1], "b@0": [0, 0, 0, 1, 1], "b@1": [0, 0, 0, 0, 1]}
    arms = {name: arm(name, np.array(right) == 1) for name, right in solved.items()}
    found = deciding([arms["a@0"], arms["a@1"]], [arms["b@0"], arms["b@1"]])
    assert found.sentence == (
        "3 problems were solved by more seeds of 'a' than of 'b', and 1 by more of 'b'. Of the 3 solved by more seeds "
        "of 'a', the two where the shares of seeds that solved the problem differ most:"
    )
    assert found.shown[0].id == "p0"
    assert found.shown[0].answers == ["a is right with 2 of 2 seeds", "b is right with 0 of 2 seeds"]


def test_one_problem_that_weighs_more_than_those_of_the_other_side_is_not_called_two():
    # Problem 0 differs in all four seeds, the others in one each: 1 is more than 3 / 4.
    solved = {f"a@{seed}": [1, 0, 0, 0] for seed in range(4)} | {"b@0": [0, 0, 0, 0]}
    solved |= {f"b@{seed}": [0, *(int(seed == problem) for problem in (1, 2, 3))] for seed in (1, 2, 3)}
    arms = {name: arm(name, np.array(right) == 1) for name, right in solved.items()}
    found = deciding(*([arms[f"{side}@{seed}"] for seed in range(4)] for side in "ab"))
    assert found.sentence == (
        "1 problem was solved by more seeds of 'a' than of 'b', and 3 by more of 'b'. The one solved by more seeds of "
        "'a':"
    )
    assert [problem.id for problem in found.shown] == ["p0"]


def test_what_a_metric_judged_has_no_value_and_neither_has_an_answer_without_one():
    judged = deciding(
        *([Arm(name, Outputs("file", ["x"], ["7"], ["p0"], metric="acc", right=[name == "a"]))] for name in "ab")
    )
    assert judged.shown[0].answers == ["a is right", "b is wrong"]
    silent = Arm("a", Outputs("file", ["I do not know."], ["8"], ["p0"]))
    right = Arm("b", Outputs("file", ["It is 8."], ["8"], ["p0"]))
    assert deciding([silent], [right]).shown[0].answers == ["a gives no value", "b answers 8 (right)"]


@pytest.mark.parametrize("right", [[True, False], [False, False]])
def test_nothing_decides_between_students_that_solve_the_same(right):
    assert deciding([arm("a", right)], [arm("b", right)]) is None
    assert deciding_problems(None, [], None) is None
