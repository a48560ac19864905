"""The contract of every strategy, and how each option changes what the teacher reads."""

import json

import pytest
from pydantic import ValidationError

from kdprobe import KdprobeError, Problem
from kdprobe.problems import extract, matches
from kdprobe.strategies import bare
from kdprobe.testing import check_strategy, host_with
from kdprobe_strategies import few_shot

PROBLEM = Problem.from_gsm8k(
    "p", {"question": "Ann has 7 {red} pens and buys 5.", "answer": "7 + 5 = <<7+5=12>>12 pens.\n#### 12"}
)
NAMES = {
    "step-back": {"name_first": "the law"},
    "plan-and-solve": {"variables": False},
    "least-to-most": {"most": 7},
    "analogical": {"problems": 1},
    "self-verification": {"method": "recompute"},
    "answer-order": {"answer": "first"},
    "few-shot": {"choose": "random", "turns": True},
    "rationalise": {"show": "solution"},
}
REQUIRED = {"answer-order": {"answer": "last"}}


@pytest.fixture(scope="module")
def host():
    return host_with("kdprobe_strategies")


@pytest.fixture(scope="module")
def teacher_reads(host):
    """What the teacher reads of a problem, all turns together."""

    def read(name, problem=PROBLEM, **options):
        pair = host.create("strategies", name, options)(problem)
        assert pair.student == bare(problem)
        return "\n".join(message["content"] for message in pair.teacher)

    return read


def test_all_are_there(host):
    assert set(host.names("strategies")) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_contract(host, name):
    check_strategy(host, name, REQUIRED.get(name))
    check_strategy(host, name, NAMES[name])


@pytest.mark.parametrize("name", NAMES)
def test_every_option_changes_what_the_teacher_reads(teacher_reads, name):
    assert teacher_reads(name, **REQUIRED.get(name, {})) != teacher_reads(name, **NAMES[name])


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_option_is_refused(host, name):
    with pytest.raises(ValidationError, match="extra_forbidden"):
        host.options("strategies", name, {**REQUIRED.get(name, {}), "unheard_of": 1})


def test_only_rationalise_shows_the_teacher_the_gold_value(teacher_reads):
    telling = Problem("p", "How many?", "#### 918273", "918273")
    shown = {name for name in NAMES if "918273" in teacher_reads(name, telling, **REQUIRED.get(name, {}))}
    assert shown == {"rationalise"}


def test_rationalise_shows_the_solution_without_calculator_marks(teacher_reads):
    shown = teacher_reads("rationalise", show="solution", secret=False)
    assert "7 + 5 = 12 pens." in shown
    assert "<<" not in shown
    assert "do not mention" not in shown


def test_the_own_examples_are_right():
    for row in few_shot.OWN:
        problem = Problem.from_gsm8k("own", row)
        assert matches(extract(problem.solution.rsplit("\n", 1)[0]), problem.value)


def test_a_problem_is_never_its_own_example(tmp_path, host):
    file = write(tmp_path, [("Ann has 7 (red) PENS, and buys 5!", "#### 12"), ("How many are 2 pens?", "#### 2")])
    render = host.create("strategies", "few-shot", {"examples": str(file), "shots": 1})
    assert "How many are 2 pens?" in render(PROBLEM).teacher[0]["content"]
    assert "PENS" not in render(PROBLEM).teacher[0]["content"]


def test_similar_examples_stand_next_to_the_question_by_their_likeness(tmp_path, teacher_reads):
    rows = [("Dogs bark.", "#### 1"), ("Ann has 8 red pens and sells 5.", "#### 3"), ("Ann has 7 cats.", "#### 7")]
    read = teacher_reads("few-shot", examples=str(write(tmp_path, rows)), shots=2, choose="similar")
    assert "Dogs" not in read
    assert read.index("7 cats") < read.index("8 red pens") < read.index(PROBLEM.question)


def test_a_random_choice_depends_on_the_problem_and_the_seed(teacher_reads):
    from dataclasses import replace

    reads = {
        teacher_reads("few-shot", replace(PROBLEM, id=str(index)), choose="random", seed=seed, shots=1)
        for index in range(5)
        for seed in (0, 1)
    }
    assert len(reads) > 2


def test_turns_alternate_and_end_with_the_bare_question(host):
    messages = host.create("strategies", "few-shot", {"turns": True, "shots": 2})(PROBLEM).teacher
    assert [message["role"] for message in messages] == ["user", "assistant"] * 2 + ["user"]
    assert messages[-1:] == bare(PROBLEM)
    assert messages[1]["content"].endswith("The answer is 15.")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read"),
        ("{", "cannot be read"),
        ("[1]\n", "example 1 has no question"),
        (json.dumps({"question": "How many?", "answer": "#### 1"}), "has 1 example for problem"),
    ],
)
def test_bad_files_of_examples_are_told_in_a_sentence(tmp_path, host, content, said):
    file = tmp_path / "examples.jsonl"
    if content is not None:
        file.write_text(content, encoding="utf-8")
    with pytest.raises(KdprobeError, match=said):
        host.create("strategies", "few-shot", {"examples": str(file)})(PROBLEM)


def test_more_shots_than_own_examples_need_a_file(host):
    with pytest.raises(ValidationError, match="for 5 shots, set the option `examples` to a file"):
        host.options("strategies", "few-shot", {"shots": 5})


def write(folder, rows):
    file = folder / "examples.jsonl"
    file.write_text("".join(json.dumps({"question": q, "answer": a}) + "\n" for q, a in rows), encoding="utf-8")
    return file
