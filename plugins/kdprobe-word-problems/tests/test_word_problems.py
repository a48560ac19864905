"""Collections in their authors' formats (with made-up problems), stories, and the extractor."""

import json
import re
from fractions import Fraction
from itertools import islice

import pytest
from pydantic import ValidationError

from kdprobe import KdprobeError
from kdprobe.problems import arithmetic_steps, extract
from kdprobe.testing import check_extractor, check_problem_source, host_with
from kdprobe_word_problems import collections


@pytest.fixture(scope="module")
def host():
    return host_with("kdprobe_word_problems")


def svamp_rows(count, first=0):
    return [
        {
            "ID": f"chal-{number}",
            "Body": f"There are {number} birds on a fence{'.' if number % 2 else ''}",
            "Question": "How many are left when 3 fly away?",
            "Equation": f"( {number}.0 - 3.0 )",
            "Answer": number - 3.0,
            "Type": "Subtraction",
        }
        for number in range(first + 10, first + 10 + count)
    ]


def multi_arith_rows(count):
    return [
        {
            "iIndex": number,
            "sQuestion": f" Ann picked {number} pears and 4 plums. Each bag holds 2. How many bags? ",
            "lEquations": [f"X=(({number}.0+4.0)/2.0)"],
            "lSolutions": [(number + 4) / 2],
        }
        for number in range(2, 2 + count)
    ]


def asdiv_file(file, problems):
    cells = "".join(
        f'<Problem ID="own-{index}" Grade="1" Source="own"><Body>{body}</Body><Question>How many?</Question>'
        f"<Solution-Type>Addition</Solution-Type><Answer>{answer}</Answer><Formula>{formula}</Formula></Problem>"
        for index, (body, answer, formula) in enumerate(problems)
    )
    file.write_text(f"<Machine-Reading-Corpus-File><ProblemSet>{cells}</ProblemSet></Machine-Reading-Corpus-File>")
    return file


def write_json(file, rows):
    file.write_text(json.dumps(rows), encoding="utf-8")
    return file


@pytest.fixture
def files(tmp_path):
    many = [(f"Tom has {n} cats and gets 2.", f"{n + 2} (cats)", f"{n}+2={n + 2}") for n in range(60)]
    return {
        "svamp": write_json(tmp_path / "SVAMP.json", svamp_rows(60)),
        "multi-arith": write_json(tmp_path / "MultiArith.json", multi_arith_rows(60)),
        "asdiv": asdiv_file(tmp_path / "ASDiv.xml", many),
    }


def read(host, name, **options):
    source = host.create("problem-sources", name, {key: str(value) for key, value in options.items()})
    return [problem for split in ("teacher", "transfer", "test") for problem in source(split)]


@pytest.mark.parametrize("name", ["svamp", "multi-arith", "asdiv"])
def test_contract_of_collections(host, name, files):
    check_problem_source(host, name, {"file": str(files[name])}, splits=("teacher", "transfer", "test"))
    assert len(read(host, name, file=files[name])) == 60


@pytest.mark.parametrize("name", ["svamp", "multi-arith", "asdiv"])
def test_solutions_are_the_equations_and_they_are_right(host, name, files):
    for problem in read(host, name, file=files[name]):
        (step,) = arithmetic_steps(problem.solution.partition("\n")[0])
        assert step.right
        assert Fraction(problem.value) == Fraction(problem.solution.rsplit("= ", 1)[1].partition("\n")[0])
        assert ".0" not in problem.value


def test_svamp_joins_body_and_question(host, tmp_path):
    rows = svamp_rows(2)
    questions = {problem.question for problem in read(host, "svamp", file=write_json(tmp_path / "s.json", rows))}
    assert questions == {
        "There are 10 birds on a fence, How many are left when 3 fly away?",
        "There are 11 birds on a fence. How many are left when 3 fly away?",
    }


def test_asdiv_keeps_problems_whose_answer_is_one_number(host, tmp_path):
    kept = [
        ("A?", "9 (apples)", "7+2=9"),
        ("B?", "1/4", "1/4"),
        ("C?", "1,200", "x=600;y=2x"),
        ("D?", "0.5", "1/2=0.5"),
    ]
    left = [("E?", "3; 4", "3;4"), ("F?", "red", "x"), ("G?", "3:4", "6:8=3:4"), ("H?", "10 30", "x"), ("I?", "", "")]
    problems = read(host, "asdiv", file=asdiv_file(tmp_path / "a.xml", [*kept, *left]))
    found = {problem.question[0]: (problem.value, problem.solution) for problem in problems}
    assert found == {
        "A": ("9", "7+2 = 9\n#### 9"),
        "B": ("1/4", "#### 1/4"),
        "C": ("1200", "#### 1200"),
        "D": ("0.5", "1/2 = 0.5\n#### 0.5"),
    }


def test_a_question_that_is_asked_twice_counts_once(host, tmp_path):
    rows = svamp_rows(5) + [{**row, "Body": row["Body"].upper()} for row in svamp_rows(5)]
    assert len(read(host, "svamp", file=write_json(tmp_path / "s.json", rows))) == 5


def test_what_the_hub_tests_is_not_trained_on(host, monkeypatch):
    parts = {"train": svamp_rows(30), "test": svamp_rows(20)}
    asked = []

    def load_dataset(name, split, revision):
        asked.append((name, split, revision))
        return parts[split]

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    source = host.create("problem-sources", "svamp", {"revision": "abc"})
    assert len(list(source("test"))) == 20
    assert [problem.id for problem in source("transfer")] == [f"svamp-train-{index}" for index in range(21, 31)]
    assert set(asked) == {("ChilleD/SVAMP", "train", "abc"), ("ChilleD/SVAMP", "test", "abc")}
    assert host.get("problem-sources", "svamp").spec.dataset == "ChilleD/SVAMP"
    with pytest.raises(KdprobeError, match="has no teacher split on the Hub"):
        next(source("teacher"))


def test_the_hubs_rows_read_as_the_files_do():
    by_name = {collection.name: collection for collection in collections.COLLECTIONS}
    hub = {"body": "A.", "question": "B?", "formula": "1+1=2", "answer": "2 (hats)", "solution_type": "Addition"}
    assert by_name["asdiv"].read(hub) == ("A. B?", "1+1", "2 ")
    assert by_name["multi-arith"].read({"question": " How many? ", "final_ans": "7"}) == (" How many? ", "", "7")


def test_no_network_and_no_file_is_told_in_a_sentence(host, monkeypatch):
    def fail(*_arguments, **_named):
        raise ConnectionError("offline")

    monkeypatch.setattr("datasets.load_dataset", fail)
    with pytest.raises(KdprobeError, match=r"could not be loaded from the Hub \(ConnectionError\)"):
        next(host.create("problem-sources", "asdiv", {})("test"))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("svamp.json", None, "cannot be read"),
        ("svamp.json", "{", "cannot be read"),
        ("svamp.json", "{}", "has no list"),
        ("svamp.json", "[1]", "Row 1 is not a problem of the collection 'svamp'"),
        ("svamp.json", '[{"question": "How many?"}]', "Row 1 is not a problem of the collection 'svamp'"),
        ("svamp.xml", "<a>", "cannot be read"),
    ],
)
def test_bad_files_are_told_in_a_sentence(host, tmp_path, name, content, said):
    file = tmp_path / name
    if content is not None:
        file.write_text(content)
    with pytest.raises(KdprobeError, match=said):
        read(host, "svamp", file=file)


@pytest.mark.parametrize("options", [{}, {"steps": 1}, {"steps": 8, "largest": 10}, {"distractors": 3, "seed": 4}])
def test_contract_of_stories(host, options):
    check_problem_source(host, "stories", options, splits=("teacher", "transfer", "test"))


@pytest.mark.parametrize("options", [{"steps": 1}, {"steps": 8, "largest": 10}, {"steps": 5, "distractors": 3}])
def test_stories_are_right_and_as_large_as_allowed(host, options):
    largest = options.get("largest", 100)
    for problem in islice(host.create("problem-sources", "stories", options)("test"), 200):
        steps = arithmetic_steps(problem.solution)
        assert len(steps) == options["steps"] == problem.group.count("-") + 1
        assert all(step.right for step in steps)
        assert steps[-1].stated == problem.value
        numbers = [int(number) for number in re.findall(r"\d+", problem.question + problem.solution)]
        assert min(numbers) > 0
        assert max(numbers) <= largest
        # Nothing is calculated from a number that the story does not tell.
        assert problem.question.count(" also has ") == options.get("distractors", 0)


def test_stories_end_with_a_sentence(host):
    source = host.create("problem-sources", "stories", {"steps": 1, "largest": 10})
    with pytest.raises(KdprobeError, match=r"These options allow too few stories for the teacher split: \d+"):
        list(source("teacher"))


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"largest": 5}, {"distractors": 4}, {"step": 1}])
def test_options_are_checked(host, wrong):
    with pytest.raises(ValidationError):
        host.options("problem-sources", "stories", wrong)


READS = {
    "12 + 5 = 17 pens, in 3 boxes.": "17",
    "3 * 4 = 12. 12 - 5 = 7": "7",
    "5 + 2 = 7, so the answer is 9 after all.": "9",
    "1 + 1 = 2\n#### 3": "3",
    "6 * 200 = $1,200.50 for all 6.": "1200.5",
    "2 - 5 = -3 degrees at 7 o'clock": "-3",
    "17 pens": "17",
    "x = 2 + 3 = 5 apples and 1 pear": "5",
    "10 / 4 = 2.5.": "2.5",
    "so 4 = 4, then 2 * 3": "4",
    "5 + 2 = 7 pens, with y = 3 * 2 of them red": "7",
}


def test_contract_of_the_extractor(host):
    check_extractor(host, "last-calculation", reads=READS)


def test_it_reads_what_robust_misreads(host):
    text = "12 + 5 = 17 pens, in 3 boxes."
    assert extract(text).value == 3
    extraction = host.create("extractors", "last-calculation").extract(text)
    assert (extraction.value, extraction.rule) == (17, "last-calculation")
    assert text[slice(*extraction.where)] == extraction.written == "17"
