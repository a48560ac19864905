"""Gold answers: where their value is, and what happens to those without one."""

import json
from fractions import Fraction
from pathlib import Path

import pytest

from kdprobe.comparison.answers import read_outputs
from kdprobe.comparison.scoring import scores
from kdprobe.problems.answers import Extraction
from kdprobe.problems.extractors import Robust
from kdprobe.problems.gold import gold_text, gold_value


@pytest.mark.parametrize(
    ("gold", "written", "value"),
    [
        ("He has 9 * 2 = <<9*2=18>>18 eggs.\n#### 18", "18", 18),
        ("He has 18 eggs.\nA: 18", "18", 18),
        (r"So $9 \cdot 2 = 18$, that is \boxed{18}.", "18", 18),
        (r"Half of it, $\boxed{\frac{1}{2}}$.", r"\frac{1}{2}", Fraction(1, 2)),
        (r"First \boxed{3}, then \boxed{1{,}200}", "1{,}200", 1200),
        (r"\boxed{9 \times 2}", r"9 \times 2", 18),
        ("9 and 9 eggs make 18. The answer is 18.", "18", 18),
        ("Two times nine.\n\n**Final answer:** $1,200", "$1,200", 1200),
        ("1,200", "1,200", 1200),
        ("18 eggs", "18 eggs", 18),
        ("9 * 2 = 18", "9 * 2 = 18", 18),
        (r"The weekday is \boxed{\text{Monday}}", r"\text{Monday}", None),
        ("The answer is Paris", "The answer is Paris", None),
        ("5 or 6", "5 or 6", None),
        ("10:30", "10:30", None),
        ("####", "", None),
    ],
)
def test_a_gold_answer_has_its_value(gold, written, value):
    assert gold_text(gold) == written
    assert gold_value(gold_text(gold)) == value


@pytest.fixture
def answers(tmp_path):
    def write(golds, responses=None, name="answers.jsonl"):
        responses = responses or [f"The answer is {gold}." for gold in golds]
        rows = [
            {"question": f"Question {i}?", "response": response, "gold": gold}
            for i, (gold, response) in enumerate(zip(golds, responses, strict=True))
        ]
        file = tmp_path / name
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(file)

    return write


def test_gold_solutions_in_boxes_and_sentences_are_scored(answers, run_cli):
    file = answers(["So \\boxed{18}.", "6 * 7 = 42. The answer is 42."], ["#### 18", "I think it is 41"])
    (score,) = json.loads(run_cli("score", file, "--json"))
    assert (score["correct"], score["n"], score["gold_without_value"]) == (1, 2, 0)


def test_gold_without_a_number_is_counted_and_reported(answers, run_cli):
    file = answers(["18", "unknown", "5 or 6", "7"])
    (score,) = json.loads(run_cli("score", file, "--json"))
    assert (score["correct"], score["gold_without_value"]) == (2, 2)
    assert "2 of 4 gold answers have no number" in " ".join(run_cli("score", file).split())
    other = answers(["18", "unknown", "6", "7"], name="other.jsonl")
    findings = json.loads(run_cli("compare", file, other, "--json"))["findings"]
    (evidence,) = [finding["evidence"] for finding in findings if finding["code"] == "gold-without-value"]
    assert evidence == "Gold answers without a number: answers 2 of 4, other 1 of 4."


@pytest.mark.parametrize("command", ["score", "compare"])
def test_gold_that_is_no_number_anywhere_is_refused(command, answers, capsys):
    from kdprobe.cli import _run

    file = answers(["Paris", "London"])
    names = [file] if command == "score" else [file, answers(["Paris", "London"], name="other.jsonl")]
    assert _run([command, *names]) == 1
    message = " ".join(capsys.readouterr().err.split())
    assert "no gold answer in the column 'gold' can be read as a number (the first is 'Paris')" in message
    assert "--gold-column" in message


def test_an_extractor_that_compares_texts_needs_no_numbers(answers):
    class LastWord:
        def extract(self, text):
            return Extraction(None, "last-word", None, text.split()[-1].strip("."))

        def is_right(self, extraction, gold):
            return extraction.written == gold

    outputs = read_outputs(Path(answers(["Paris", "London"])))
    assert [score.correct for score in scores(outputs, {"robust": Robust(), "last-word": LastWord()})] == [0, 2]


def test_the_share_of_answers_that_run_on_is_a_finding(answers, run_cli):
    responses = ["#### 18\n\nQuestion: What is 6 * 7?\n#### 42"] * 2 + ["#### 7"] * 8
    file = answers(["18"] * 2 + ["7"] * 8, responses)
    (score,) = json.loads(run_cli("score", file, "--json"))
    assert (score["run_on"], score["correct"]) == (0.2, 10)
    other = answers(["18"] * 2 + ["7"] * 8, ["#### 7"] * 10, name="other.jsonl")
    findings = json.loads(run_cli("compare", file, other, "--json"))["findings"]
    (evidence,) = [finding["evidence"] for finding in findings if finding["code"] == "run-on"]
    assert evidence == "Answers that run on into another problem: answers 20.0%."
