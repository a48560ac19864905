import json
import re
from dataclasses import replace
from itertools import islice

import pytest

from kdprobe.errors import KdprobeError
from kdprobe.problems.draw import draw
from kdprobe.problems.problem import Problem
from kdprobe.problems.sources import gsm_symbolic, jsonl, other_numbers

GOOD = {"question": "How many?", "answer": "3 + 4 = <<3+4=7>>7\n#### 7"}


def source(transfer, test):
    """A source of problems from lists of questions."""
    made = {
        split: [Problem(f"{split}-{n}", question, "#### 1", "1") for n, question in enumerate(questions)]
        for split, questions in (("transfer", transfer), ("test", test))
    }
    return made.__getitem__


def test_calculator_marks_are_stripped_from_what_students_learn():
    assert Problem.from_gsm8k("a", GOOD).plain_solution == "3 + 4 = 7\n#### 7"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read"),
        ("", "is empty"),
        ("\n\n", "is empty"),
        (json.dumps(GOOD) + "\n{oops\n", "line 2 is not JSON"),
        ("[1]\n", "line 1 is not a JSON object"),
        (json.dumps({**GOOD, "answer": "seven"}), "line 1: .*no gold value"),
        (json.dumps({**GOOD, "answer": "seven ####  "}), "line 1: .*empty gold value"),
        (json.dumps({"answer": "#### 7"}), "line 1: .*no question"),
    ],
)
def test_a_bad_problem_file_is_named_with_its_line(tmp_path, content, words):
    file = tmp_path / "mine.jsonl"
    if content is not None:
        file.write_text(content)
    with pytest.raises(KdprobeError, match=words) as caught:
        list(jsonl.read(file))
    assert str(file) in str(caught.value)


def test_problems_are_numbered_by_line_and_keep_their_group(tmp_path):
    file = tmp_path / "mine.jsonl"
    file.write_text("\ufeff" + json.dumps(GOOD) + "\n\n" + json.dumps({**GOOD, "group": "g"}) + "\n", encoding="utf-8")
    first, second = jsonl.read(file)
    assert (first.id, first.value, first.group) == ("mine-1", "7", None)
    assert (second.id, second.group) == ("mine-3", "g")


def test_draw_takes_the_first_of_each_split():
    drawn = draw(source("abc", "xyz"), transfer=2, test=1)
    assert [p.question for p in (*drawn.transfer, *drawn.test)] == ["a", "b", "x"]


def test_draw_refuses_a_test_question_that_was_trained_on_however_it_is_written():
    with pytest.raises(KdprobeError, match="test-1 is also transfer problem transfer-0"):
        draw(source(["How many apples?"], ["Other", "how  many\napples"]), transfer=1, test=2)


def test_draw_refuses_a_source_with_too_few():
    with pytest.raises(KdprobeError, match="has only 2 test problems, but 3 were requested"):
        draw(source("abc", "xy"), transfer=3, test=3)


def test_draw_refuses_an_id_that_occurs_twice():
    twice = [Problem("same", question, "#### 1", "1") for question in "ab"]
    with pytest.raises(KdprobeError, match="id 'same' twice"):
        draw(lambda split: twice, transfer=2, test=2)


@pytest.fixture
def symbolic():
    pytest.importorskip("reasoning_gym")

    def take(split, count, seed=0, templates=(6, 10, 16)):
        options = gsm_symbolic.GsmSymbolicOptions(templates=list(templates), seed=seed)
        return list(islice(gsm_symbolic.build(options)(split), count))

    return take


def test_symbolic_splits_are_disjoint_whatever_the_seed(symbolic):
    questions = {
        split: {problem.question for seed in (0, 1, 7) for problem in symbolic(split, 45, seed)}
        for split in ("teacher", "transfer", "test")
    }
    assert all(len(found) >= 45 for found in questions.values())
    assert not questions["teacher"] & questions["transfer"]
    assert not questions["teacher"] & questions["test"]
    assert not questions["transfer"] & questions["test"]


def test_symbolic_draws_do_not_depend_on_how_many_are_asked_for(symbolic):
    assert symbolic("test", 40)[:10] == symbolic("test", 10)


def test_symbolic_draws_repeat_with_the_seed_and_change_with_it(symbolic):
    assert symbolic("transfer", 9) == symbolic("transfer", 9)
    assert symbolic("transfer", 9) != symbolic("transfer", 9, seed=1)


def test_symbolic_problems_take_templates_in_turn_and_end_in_their_value(symbolic):
    drawn = symbolic("test", 6)
    assert [p.group for p in drawn] == ["template-6", "template-10", "template-16"] * 2
    assert all(p.solution.splitlines()[-1] == f"#### {p.value}" for p in drawn)


@pytest.mark.parametrize("templates", [[100], [-1], [3, 3], []])
def test_symbolic_refuses_unknown_and_doubled_templates(templates):
    with pytest.raises(ValueError, match="template"):
        gsm_symbolic.GsmSymbolicOptions(templates=templates)


def test_draw_refuses_a_question_that_is_asked_twice_in_one_split():
    with pytest.raises(KdprobeError, match=r"The test problems .* ask the same question"):
        draw(source("ab", ["How many?", "how  many"]), transfer=2, test=2)


@pytest.mark.parametrize("split", ["transfer", "test"])
def test_counterfactuals_have_the_same_words_and_other_numbers(split):
    pytest.importorskip("reasoning_gym")
    options = gsm_symbolic.GsmSymbolicOptions(templates=[6, 26, 31, 43, 7], seed=3)
    counterfactuals, problems = other_numbers.build(options), gsm_symbolic.build(options)(split)
    for problem in islice(problems, 20):
        others = list(islice(counterfactuals(problem), 4))
        assert len(others) == len({other.question for other in others}) == len({other.id for other in others}) > 1
        for other in others:
            assert re.split(r"[\d.,]+", other.question) == re.split(r"[\d.,]+", problem.question)
            assert re.split(r"[\d.,]+", other.solution) == re.split(r"[\d.,]+", problem.solution)
            assert re.findall(r"\d+", other.question) != re.findall(r"\d+", problem.question)
            assert other.value != problem.value
            assert gsm_symbolic.split_of(other.question) == split
            assert other.group == problem.group
        assert list(islice(counterfactuals(problem), 4)) == others
        assert list(islice(other_numbers.build(options)(problem), 4)) == others


def test_a_problem_from_elsewhere_has_no_counterfactuals():
    pytest.importorskip("reasoning_gym")
    options = gsm_symbolic.GsmSymbolicOptions(templates=[6, 43])
    counterfactuals = other_numbers.build(options)
    (problem,) = islice(gsm_symbolic.build(options)("test"), 1)
    for stranger in (
        replace(problem, id="mine"),
        replace(problem, id="test-7-1"),
        replace(problem, question="There are 2 dogs. How many dogs are there?"),
    ):
        assert list(counterfactuals(stranger)) == []
