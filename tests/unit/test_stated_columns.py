"""A stated column applies to files that have it; others are read by the usual column names, and the output says so."""

import pandas as pd
import pytest

import kdprobe
from kdprobe.comparison import read_outputs
from kdprobe.errors import KdprobeError, UsageError

QUESTIONS = ["What are 3 pears and 4 pears?", "What are 5 plums and 2 plums?"]
MINE = pd.DataFrame({"id": ["p0", "p1"], "question": QUESTIONS, "text": ["so 7", "so 8"], "output": "7", "gold": "7"})
THEIRS = pd.DataFrame({"question": QUESTIONS[::-1], "response": ["so 7", "so 7"], "answer": ["7", "7"]})


def test_a_stated_column_applies_where_it_is_and_the_output_says_where_it_is_not():
    result = kdprobe.compare({"mine": MINE, "theirs": THEIRS}, response_column="text", gold_column="gold")
    mine, theirs = result.comparison.arms
    assert (mine.correct, mine.columns["response"], list(mine.notes)) == (1, "text", [])
    assert (theirs.correct, theirs.columns) == (2, {"response": "response", "gold": "answer", "id": None})
    assert theirs.notes == [
        "There is no column 'text', so the usual column names were tried for the responses.",
        "There is no column 'gold', so the usual column names were tried for the gold answers.",
    ]
    scored = kdprobe.score({"mine": MINE}, {"theirs": THEIRS}, response_column="text")
    assert [score.correct for score in scored.details] == [1, 2]


@pytest.mark.parametrize("call", [kdprobe.compare, kdprobe.score])
def test_a_stated_column_that_no_file_has_is_refused(call):
    with pytest.raises(UsageError, match="No file has a column 'nothing'"):
        call({"mine": MINE, "theirs": THEIRS}, id_column="nothing")


def test_a_single_file_must_have_it():
    with pytest.raises(
        UsageError, match="mine has no column 'nothing'; its columns are id, question, text, output, gold"
    ):
        kdprobe.score({"mine": MINE}, response_column="nothing")


def test_a_file_that_cannot_be_read_by_the_usual_names_is_refused():
    with pytest.raises(UsageError, match="No column of theirs is recognised as the responses"):
        kdprobe.compare({"mine": MINE, "theirs": THEIRS.drop(columns="response")}, response_column="text")


def test_ids_in_one_file_only_pair_by_question():
    result = kdprobe.compare({"mine": MINE, "theirs": THEIRS}, response_column="text", id_column="id")
    assert result.comparison.pairing == "Answers are paired by question: theirs has no ids."
    assert result.comparison.pairs[0].test.n == 2


def test_a_path_may_be_text(tmp_path):
    THEIRS.to_csv(tmp_path / "theirs.csv", index=False)
    assert read_outputs(str(tmp_path / "theirs.csv")).responses == ["so 7", "so 7"]
    with pytest.raises(KdprobeError, match="No such file"):
        read_outputs(str(tmp_path / "none.csv"))


def test_displayed_results_say_what_the_commands_say():
    empty = pd.DataFrame({"response": ["so 7", ""], "gold": ["7", "7"], "log_p_gold_value": [-1.0, -2.0]})
    shown = repr(kdprobe.score({"mine": empty}))
    assert "mine: responses are in column 'response', gold answers in 'gold'; there is no id column." in shown
    header, row = (line.split() for line in shown.splitlines()[2:4])
    values = dict(zip(header, row, strict=True))
    assert (values["log_p_gold_value"], values["empty"], values["cut_off"]) == ("-1.5", "0.5", "unknown")
    assert "unknown" in kdprobe.score({"mine": empty})._repr_html_()
    full = repr(kdprobe.score({"theirs": THEIRS}))
    assert "empty" not in full.splitlines()[2]
    assert "log_p_gold_value" not in full.splitlines()[2]
    compared = kdprobe.compare({"mine": empty, "other": empty.assign(log_p_gold_value=-1.0)})
    assert "log_p_difference" in repr(compared)
    assert "Answers are paired by row: there are no ids or questions." in compared._repr_html_()


@pytest.mark.parametrize(("problems", "few"), [(5, True), (6, False)])
def test_too_few_problems_for_any_difference_are_a_finding_and_part_of_the_verdict(problems, few):
    # The exact test of 6 disagreements, all on one side, gives p = 2 / 2**6 = 0.031; that of 5 gives 0.0625.
    arms = {name: pd.DataFrame({"response": [text] * problems, "gold": "7"}) for name, text in (("a", "7"), ("b", "7"))}
    compared = kdprobe.compare(arms)
    sentences = [each.evidence for each in compared.findings if each.code == "too-few-problems"]
    told = (
        "With 5 shared problems, no difference can be significant: the smallest Holm-adjusted p that McNemar's exact "
        "test can reach is 0.062."
    )
    assert sentences == ([told] if few else [])
    assert compared.verdict[1:] == sentences
