"""How the answers of two files are paired, and when ids are rejected."""

import json

import pytest

from kdprobe.comparison.answers import Outputs
from kdprobe.comparison.arms import Arm
from kdprobe.comparison.pairing import pair_up
from kdprobe.errors import KdprobeError

PEOPLE = ["Ann", "Ben", "Cem", "Dora"]
QUESTIONS = [f"{PEOPLE[n % 4]} has {n} apples and buys {n + 3} more. How many are in basket {n}?" for n in range(12)]
NAMES = [f"p{n}" for n in range(12)]
SHOTS = "Q: Bob has 2 pears and eats one of them at home. How many has he?\nA: 1\n\n"


def arm(name, ids=None, questions=None, count=12):
    size = len(ids or questions or range(count))
    return Arm(name, Outputs(f"{name}.csv", ["7"] * size, ["7"] * size, ids=ids, questions=questions))


def check(a, b, rows, sentence):
    pairing = pair_up([a, b])
    assert [list(held) for held in pairing.shared(a.name, b.name)] == rows
    assert pairing.sentence == sentence


STRAIGHT = [list(range(12)), list(range(12))]
REVERSED = [list(range(12)), list(range(11, -1, -1))]


def test_ids_pair_where_they_meet():
    check(arm("a", NAMES, QUESTIONS), arm("b", NAMES[::-1], QUESTIONS[::-1]), REVERSED, "Answers are paired by id.")
    check(arm("a", NAMES), arm("b", NAMES[:5], QUESTIONS[:5]), [[0, 1, 2, 3, 4]] * 2, "Answers are paired by id.")


@pytest.mark.parametrize(
    "asked",
    [
        QUESTIONS[::-1],
        [question.upper().replace(" ", "  ") for question in QUESTIONS[::-1]],
        [f"{SHOTS}Q: {question}\nA:" for question in QUESTIONS[::-1]],
    ],
)
def test_questions_pair_where_ids_do_not_meet(asked):
    numbers = [str(n + 100) for n in range(12)]
    sentence = "Answers are paired by question: a and b share no ids."
    check(arm("a", NAMES, QUESTIONS), arm("b", numbers, asked), REVERSED, sentence)


def test_questions_pair_where_more_of_them_meet_than_of_the_ids():
    sentence = "Answers are paired by question: a and b share only 1 id."
    check(arm("a", NAMES, QUESTIONS), arm("b", [*"abcdefghijk", "p0"], QUESTIONS), STRAIGHT, sentence)


def test_questions_pair_where_ids_are_missing():
    sentence = "Answers are paired by question: b has no ids."
    check(arm("a", NAMES, QUESTIONS), arm("b", None, QUESTIONS[::-1]), REVERSED, sentence)


def test_calculations_that_differ_in_their_sign_are_two_questions():
    a = arm("a", None, ["What is 9+4?", "What is 9-4?"])
    b = arm("b", None, ["What is 9\u22124?", "What is 9+4?"])
    check(a, b, [[0, 1], [1, 0]], "Answers are paired by question: a and b have no ids.")


def test_rows_pair_where_there_is_nothing_else_and_that_is_said():
    check(arm("a"), arm("b"), STRAIGHT, "Answers are paired by row: there are no ids or questions.")


def test_several_files_without_ids_are_listed():
    with pytest.raises(KdprobeError, match=r"by problem: a\.csv, b\.csv and c\.csv have no ids"):
        pair_up([arm("a"), arm("b"), arm("c", count=11)])


@pytest.mark.parametrize(
    ("a", "b", "words"),
    [
        (arm("a"), arm("b", count=11), "a.csv and b.csv have no ids"),
        (arm("a", NAMES), arm("b"), "b.csv has no ids"),
        (arm("a", NAMES), arm("b", ["x"]), "have no problems in common"),
        (arm("a", NAMES, QUESTIONS), arm("b", ["x"], ["Another?"]), "have no problems in common"),
        # One shifted by one, as ids that count from 0 and from 1 are.
        (
            arm("a", NAMES, QUESTIONS),
            arm("b", [*NAMES[1:], "p99"], QUESTIONS[:1] * 12),
            "different questions: 11 of 11",
        ),
        (arm("a", NAMES, QUESTIONS), arm("b", NAMES, [*QUESTIONS[:11], "Other?"]), "questions: 1 of 12, such as 'p11'"),
        (arm("a", ["x", "x"]), arm("b", ["x"]), "a.csv answers the problem 'x' 2 times"),
    ],
)
def test_what_cannot_be_paired_is_refused(a, b, words):
    with pytest.raises(KdprobeError, match=words):
        pair_up([a, b])


@pytest.mark.parametrize(
    "asked",
    [
        [f"{SHOTS}Q: {question}\nA:" for question in QUESTIONS],
        [question.replace("apples and", "apples, and").replace(" has", "  HAS") for question in QUESTIONS],
    ],
)
def test_one_question_in_other_words_around_it_is_no_contradiction(asked):
    lead = [f"Solve this step by step, please. {question} Think!" for question in QUESTIONS]
    check(arm("a", NAMES, lead), arm("b", NAMES, asked), STRAIGHT, "Answers are paired by id.")


def test_the_pairing_is_in_both_outputs(tmp_path, run_cli):
    files = []
    for name, ids in (("a", NAMES), ("b", range(12))):
        rows = [{"id": i, "question": q, "response": "7", "gold": "7"} for i, q in zip(ids, QUESTIONS, strict=True)]
        files.append(tmp_path / f"{name}.json")
        files[-1].write_text(json.dumps(rows))
    sentence = "Answers are paired by question: a and b share no ids."
    data = json.loads(run_cli("compare", *files, "--json"))
    assert (data["pairing"], data["pairs"][0]["n"]) == (sentence, 12)
    told = " ".join(run_cli("compare", *files).split())
    assert sentence in told
    assert "a, b: responses are in column 'response', gold answers in 'gold', ids in 'id'." in told


def test_gold_values_written_differently_are_one(tmp_path, run_cli):
    files = []
    for name, gold in (("a", "18"), ("b", 18.0)):
        files.append(tmp_path / f"{name}.json")
        files[-1].write_text(json.dumps([{"id": n, "response": "18", "gold": gold} for n in range(12)]))
    codes = [finding["code"] for finding in json.loads(run_cli("compare", *files, "--json"))["findings"]]
    assert "gold-mismatch" not in codes


def test_rows_pair_only_where_their_gold_values_agree():
    gold = [str(n) for n in range(12)]
    a, same = (Arm(name, Outputs(f"{name}.csv", ["7"] * 12, gold)) for name in "ab")
    assert pair_up([a, same]).sentence == "Answers are paired by row: there are no ids or questions."
    other = Arm("b", Outputs("b.csv", ["7"] * 12, gold[::-1]))
    with pytest.raises(KdprobeError, match="their gold values differ in 12 of 12 rows"):
        pair_up([a, other])
