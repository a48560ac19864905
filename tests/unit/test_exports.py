"""Files as exported by other tools, and several answers to one problem."""

import json

import numpy as np
import pandas as pd
import pytest

import kdprobe
from kdprobe.comparison.answers import read_outputs
from kdprobe.errors import KdprobeError, UsageError


def rows_file(folder, *rows):
    file = folder / "answers.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def text_file(folder, text):
    file = folder / "answers.csv"
    file.write_text(text, encoding="utf-8")
    return file


def scored(answers):
    return kdprobe.score(answers, progress=False).details[0]


def test_a_column_of_marks_is_not_taken_for_gold_values(tmp_path):
    rows = [{"answer": str(n), "response": f"so {n}", "label": 1} for n in range(5, 9)]
    with pytest.raises(UsageError, match="'label' and 'answer' may contain the gold answers"):
        read_outputs(rows_file(tmp_path, *rows))
    same = [{"answer": f"#### {n}", "response": f"so {n}", "label": n} for n in (0, 1)]
    assert scored(rows_file(tmp_path, *same)).correct == 2


def test_a_column_of_marks_alone_is_refused_and_true_is_no_answer(tmp_path):
    with pytest.raises(UsageError, match="'label' may or may not contain the gold answers"):
        read_outputs(rows_file(tmp_path, {"response": "so 7", "label": 1}, {"response": "so 8", "label": 0}))
    with pytest.raises(UsageError, match="is recognised as the responses"):
        read_outputs(rows_file(tmp_path, {"generated": True, "text": "so 7", "gold": "7"}))


def test_whether_an_answer_was_cut_off_may_be_written_in_any_way(tmp_path):
    table = "response,gold,truncated\nso 7,7,{}\nso 7,7,{}\nso 7,7,\n"
    for yes, no in (("yes", "no"), ("True", "False"), ("1.0", "0"), ("T", "F")):
        assert read_outputs(text_file(tmp_path, table.format(yes, no))).cut_off == [True, False, False]
    other = read_outputs(text_file(tmp_path, table.format("length", "stop")))
    assert other.cut_off is None
    assert other.notes == ("The column 'truncated' is ignored: not every cell is true or false.",)


def test_an_answer_that_ended_before_it_began_is_empty_and_refuses_no_file(tmp_path):
    done = {"candidates": [{"content": {"role": "model", "parts": [{"text": "so 7"}]}}]}
    cut = {"candidates": [{"content": {"role": "model"}, "finishReason": "MAX_TOKENS"}]}
    blocked = {"promptFeedback": {"blockReason": "OTHER"}}
    rows = [{"response": reply, "gold": "7"} for reply in (done, cut, blocked)]
    outputs = read_outputs(rows_file(tmp_path, *rows))
    assert outputs.responses == ["so 7", "", ""]
    assert outputs.notes == (
        "2 replies have no text, perhaps from a failed request; they count as empty answers.",
        "The replies in 'response' say which answers were cut off.",
    )
    assert outputs.cut_off == [False, True, False]


def test_the_first_sample_is_the_one_of_the_lowest_index(tmp_path):
    choices = [{"index": n, "message": {"role": "assistant", "content": f"so {n}"}} for n in (2, 1, 0)]
    assert read_outputs(rows_file(tmp_path, {"response": {"choices": choices}, "gold": "0"})).responses == ["so 0"]


@pytest.mark.parametrize(
    "printed",
    [
        "content='so 7' additional_kwargs={} response_metadata={'token_usage': {'completion_tokens': 5}}",
        "array(['so 7'], dtype=object)",
    ],
)
def test_a_printed_object_is_not_read_as_an_answer(printed, tmp_path):
    file = tmp_path / "answers.csv"
    pd.DataFrame({"response": [printed], "gold": ["7"]}).to_csv(file, index=False)
    with pytest.raises(KdprobeError, match="contains a printed Python object"):
        read_outputs(file)


def test_a_repeated_header_is_refused_with_its_line(tmp_path):
    table = "id,response,gold\na,so 7,7\n"
    with pytest.raises(KdprobeError, match="line 3 repeats the header, so the file has several tables"):
        read_outputs(text_file(tmp_path, table + table))


def test_the_rule_below_a_header_in_markdown_is_no_row(tmp_path):
    table = "| id | response | gold |\n|----|:--------|----:|\n| a | so 7 | 7 |\n| b | so 8 | 7 |\n"
    assert (scored(text_file(tmp_path, table)).correct, scored(text_file(tmp_path, table)).n) == (1, 2)


def test_numbers_of_single_precision_keep_their_digits(tmp_path):
    table = pd.DataFrame({"response": ["so 0.1", "so 7", "so 2.5"], "gold": np.array([0.1, 7, 2.5], dtype="float32")})
    table.to_parquet(tmp_path / "answers.parquet")
    assert [scored(table).correct, scored(tmp_path / "answers.parquet").correct] == [3, 3]


def test_a_sample_of_lm_eval_without_a_response_leaves_the_others_to_the_extractor(tmp_path):
    row = {
        "doc": {"question": "q"},
        "target": "#### 7",
        "metrics": ["exact_match"],
        "exact_match": 1.0,
        "filter": "none",
    }
    outputs = read_outputs(
        rows_file(tmp_path, {**row, "doc_id": 0, "resps": [["so 7"]]}, {**row, "doc_id": 1, "resps": [[]]})
    )
    assert (outputs.metric, outputs.responses) == (None, ["so 7", ""])


def test_an_empty_column_does_not_hide_the_questions(tmp_path):
    rows = [{"instruction": f"Add {n}.", "input": "", "response": "so 7", "gold": "7"} for n in range(3)]
    assert read_outputs(rows_file(tmp_path, *rows)).questions == ["Add 0.", "Add 1.", "Add 2."]


@pytest.mark.parametrize("name", ["id", "question"])
def test_several_answers_to_a_problem_do_not_narrow_the_interval(name, tmp_path):
    problems = [{name: f"problem {n}", "response": f"so {7 + n % 2}", "gold": "7"} for n in range(40)]
    once, often = scored(rows_file(tmp_path, *problems)), scored(rows_file(tmp_path, *problems * 4))
    assert (often.correct, often.n, often.accuracy) == (80, 160, 0.5)
    assert often.interval.high - often.interval.low >= once.interval.high - once.interval.low
    assert once.notes == []
    assert often.notes == ["The 160 answers belong to 40 problems; intervals are over problems."]
