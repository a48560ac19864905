import pytest

from kdprobe.errors import KdprobeError
from kdprobe.experiment.plan import _pair
from kdprobe.problems.problem import Problem
from kdprobe.strategies.prompt_pair import PromptPair, bare

PROBLEM = Problem("p1", "How many?", "#### 2", "2")


def test_a_strategy_that_raises_is_named_with_the_problem():
    with pytest.raises(KdprobeError, match=r"'loud' of pack failed on problem 'p1': ZeroDivisionError"):
        _pair(lambda _problem: 1 // 0, PROBLEM, "The strategy 'loud' of pack")


def test_a_strategy_that_returns_something_else_is_told_what_it_returned():
    with pytest.raises(KdprobeError, match=r"must return a PromptPair, and returned list"):
        _pair(bare, PROBLEM, "The strategy 'loud' of pack")


def test_a_refusal_in_a_strategys_own_words_is_kept():
    def refuse(problem):
        raise KdprobeError(f"No principle fits {problem.id}.")

    with pytest.raises(KdprobeError, match=r"^No principle fits p1"):
        _pair(refuse, PROBLEM, "The strategy 'loud' of pack")


def test_a_pair_is_passed_on():
    pair = PromptPair(bare(PROBLEM), bare(PROBLEM))
    assert _pair(lambda _problem: pair, PROBLEM, "") is pair
