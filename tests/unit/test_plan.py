import pytest

from kdprobe.errors import KdprobeError
from kdprobe.experiment.rendering import _pair, is_unprimed
from kdprobe.host.registry import Host
from kdprobe.problems.problem import Problem
from kdprobe.strategies.prompt_pair import PromptPair, bare

PROBLEM = Problem("p1", "How many?", "#### 2", "2")


def test_a_strategy_that_raises_is_named_with_the_problem():
    with pytest.raises(KdprobeError, match=r"'loud' of pack failed on problem 'p1': ZeroDivisionError"):
        _pair(lambda _problem: 1 // 0, PROBLEM, "The strategy 'loud' of pack")


def test_a_strategy_that_returns_something_else_is_told_what_it_returned():
    with pytest.raises(KdprobeError, match=r"must return a PromptPair but returned list"):
        _pair(bare, PROBLEM, "The strategy 'loud' of pack")


def test_a_refusal_in_a_strategys_own_words_is_kept():
    def refuse(problem):
        raise KdprobeError(f"No principle fits {problem.id}.")

    with pytest.raises(KdprobeError, match=r"^No principle fits p1"):
        _pair(refuse, PROBLEM, "The strategy 'loud' of pack")


def test_a_pair_is_passed_on():
    pair = PromptPair(bare(PROBLEM), bare(PROBLEM))
    assert _pair(lambda _problem: pair, PROBLEM, "") is pair


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("none", {}, True),
        ("template", {"text": "{question}"}, True),
        ("template", {"text": "{question}", "system": "Be brief."}, False),
        ("template", {"text": "Think. {question}"}, False),
        ("teacher", {}, False),
    ],
)
def test_what_the_teacher_reads_decides_whether_a_strategy_is_unprimed(name, options, expected):
    render = Host().create("strategies", name, options)
    assert is_unprimed({PROBLEM.id: render(PROBLEM)}, [PROBLEM]) is expected


def test_one_primed_problem_makes_a_strategy_primed():
    other = Problem("p2", "How few?", "#### 1", "1")
    told = [{"role": "user", "content": f"Think. {other.question}"}]
    pairs = {"p1": PromptPair(bare(PROBLEM), bare(PROBLEM)), "p2": PromptPair(told, bare(other))}
    assert not is_unprimed(pairs, [PROBLEM, other])
    # What the student reads is another matter.
    assert is_unprimed({"p1": PromptPair(bare(PROBLEM), told)}, [PROBLEM])


def test_garbage_is_collected_again_after_a_plan_that_fails():
    import gc

    import kdprobe

    problems = {"source": "gsm-symbolic", "options": {"templates": [6]}, "transfer": 2, "test": 2}
    teacher = {"name": "transformers", "options": {"model": "./nowhere"}}
    config = {"name": "lost", "strategies": ["none"], "problems": problems, "teacher": teacher}
    with pytest.raises(KdprobeError, match="nowhere"):
        kdprobe.plan(config | {"student": {"model": "./nowhere"}}, progress=False)
    assert gc.isenabled()
