"""Which column of a file holds the answers and which the gold answers, what a cell holds, and what is rejected."""

import csv
import json

import pandas as pd
import pytest

from kdprobe.comparison.answers import read_outputs
from kdprobe.comparison.reading.columns import Columns
from kdprobe.errors import KdprobeError, UsageError

WORKED = "3 + 4 = 7\n#### 7"


def rows_file(folder, *rows, name="answers.jsonl"):
    file = folder / name
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def cells_file(folder, *cells):
    """A CSV in which each of these is the text of a response."""
    file = folder / "cells.csv"
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["id", "response", "gold"])
        writer.writerows([number, cell, "7"] for number, cell in enumerate(cells))
    return file


@pytest.mark.parametrize(
    ("row", "response", "gold"),
    [
        ({"question": "q", "answer": WORKED, "model_answer": "8"}, "model_answer", "answer"),
        ({"question": "q", "solution": WORKED, "answer": "7", "output": "8"}, "output", "answer"),
        ({"problem": "q", "solution": WORKED, "response": "8"}, "response", "solution"),
        ({"question": "q", "ground_truth": WORKED, "solution": "so 8"}, "solution", "ground_truth"),
        ({"input": "q", "target": "7", "output": "8"}, "output", "target"),
        ({"problem": "q", "expected_answer": "7", "generated_solution": "8"}, "generated_solution", "expected_answer"),
        ({"question": "q", "answer": "5", "gold": "7", "response": "8"}, "response", "gold"),
        ({"gold": "7", "target": WORKED, "response": "8"}, "response", "gold"),
        ({"Gold Answer": "7", "Model Output": "8"}, "Model Output", "Gold Answer"),
        ({"prediction": "8", "response": "8", "label": 7}, "response", "label"),
    ],
)
def test_columns_are_known_by_their_names_and_named_in_the_output(row, response, gold, tmp_path, run_cli):
    (score,) = json.loads(run_cli("score", rows_file(tmp_path, row), "--json"))
    assert score["columns"] == {"response": response, "gold": gold, "id": None}
    assert score["correct"] == 0
    told = " ".join(run_cli("score", rows_file(tmp_path, row)).split())
    assert f"responses are in column {response!r}, gold answers in {gold!r}; there is no id column." in told


@pytest.mark.parametrize(
    ("row", "candidates", "option"),
    [
        # The solution is gold reasoning: taken for the model's it would be right in every row.
        (
            {"question": "q", "solution": WORKED, "answer": "7"},
            "'answer' and 'solution' may contain",
            "--response-column",
        ),
        ({"question": "q", "solution": WORKED, "gold": "7"}, "'solution' may or may not contain", "--response-column"),
        ({"question": "q", "answer": "7", "ground_truth": "7"}, "'answer' may or may not contain", "--response-column"),
        ({"answer": "7", "solution": "7", "label": WORKED}, "'answer' and 'solution' may contain", "--response-column"),
        ({"response": "so 8", "prediction": "8", "gold": "7"}, "'response' and 'prediction' may", "--response-column"),
        (
            {"output": "8", "completion": "9", "text": "7", "gold": "7"},
            "'output' and 'completion'",
            "--response-column",
        ),
        (
            {"response": "8", "answer": "7", "Answer": "9"},
            "'answer' and 'Answer' may contain the gold",
            "--gold-column",
        ),
        ({"response": "8", "target": "7", "label": "0"}, "'target' and 'label' may contain the gold", "--gold-column"),
        (
            {"response": "8", "answer": "8", "solution": WORKED},
            "'answer' and 'solution' may contain the gold",
            "--gold-",
        ),
    ],
)
def test_what_the_names_do_not_tell_is_refused_with_the_candidates(row, candidates, option, tmp_path):
    with pytest.raises(UsageError, match=rf"{candidates}.*Select the right one with {option}"):
        read_outputs(rows_file(tmp_path, row))


def test_a_named_column_settles_it(tmp_path):
    file = rows_file(tmp_path, {"question": "q", "solution": WORKED, "answer": "8"})
    assert read_outputs(file, Columns(response="answer")).columns["gold"] == "solution"
    assert read_outputs(file, Columns(response="solution")).columns["gold"] == "answer"
    with pytest.raises(UsageError, match="cannot be both"):
        read_outputs(file, Columns(response="answer", gold="answer"))


def test_the_first_unique_column_of_an_ids_name_is_the_id(tmp_path):
    rows = [{"id": "x", "question_id": n, "custom_id": "", "response": "7", "gold": "7"} for n in range(3)]
    outputs = read_outputs(rows_file(tmp_path, *rows))
    assert (outputs.columns["id"], outputs.ids) == ("question_id", ["0", "1", "2"])
    doubled = read_outputs(rows_file(tmp_path, *({**row, "question_id": 0} for row in rows)))
    assert doubled.columns["id"] == "id"


def message(text):
    return {"role": "assistant", "content": text}


REPLIES = {
    "chat completion": {"object": "chat.completion", "choices": [{"index": 0, "message": message("so 7")}]},
    "completion": {"choices": [{"text": "so 7", "index": 0}]},
    "batch line": {"status_code": 200, "body": {"choices": [{"message": message("so 7")}]}},
    "responses": {
        "output": [
            {"type": "reasoning", "summary": []},
            {"type": "message", "content": [{"type": "output_text", "text": "so 7"}]},
        ]
    },
    "message": message("so 7"),
    "parts": message(
        [{"type": "thinking", "thinking": "8?"}, {"type": "text", "text": "so "}, {"type": "text", "text": "7"}]
    ),
    "anthropic batch": {"type": "succeeded", "message": message([{"type": "text", "text": "so 7"}])},
    "gemini": {
        "candidates": [{"content": {"role": "model", "parts": [{"text": "8?", "thought": True}, {"text": "so 7"}]}}]
    },
    "ollama": {"model": "m", "message": message("so 7"), "done": True},
    "generate": {"model": "m", "response": "so 7"},
    "vllm": {"request_id": "0", "outputs": [{"index": 0, "text": "so 7"}]},
    "pipeline": [{"generated_text": "so 7"}],
    "chat pipeline": [{"generated_text": [{"role": "user", "content": "q 9"}, message("so 7")]}],
    "conversation": [{"role": "user", "content": "q 9"}, message("so 7")],
    "sharegpt": [{"from": "human", "value": "q 9"}, {"from": "gpt", "value": "so 7"}],
    "samples": ["so 7"],
    "nested samples": [["so 7"]],
    "text": {"text": "so 7"},
}


THOUGHT = {"parts", "gemini"}
"""Replies in which the model says what it thinks, which is kept between marks."""


def opened(name):
    return "<think>\n8?\n</think>\n\nso 7" if name in THOUGHT else "so 7"


@pytest.mark.parametrize("name", REPLIES)
def test_replies_are_opened(name, tmp_path):
    rows = [{"response": REPLIES[name], "gold": "7"}, {"response": None, "gold": "7"}]
    assert read_outputs(rows_file(tmp_path, *rows)).responses == [opened(name), ""]


@pytest.mark.parametrize("write", [json.dumps, repr])
@pytest.mark.parametrize("name", REPLIES)
def test_replies_written_into_cells_as_text_are_opened(name, write, tmp_path):
    assert read_outputs(cells_file(tmp_path, write(REPLIES[name]), "")).responses == [opened(name), ""]


@pytest.mark.parametrize("name", ["chat completion", "completion", "batch line", "message", "vllm", "conversation"])
def test_a_servers_reply_is_opened_wherever_it_stands(name, tmp_path):
    assert read_outputs(cells_file(tmp_path, "so 8", json.dumps(REPLIES[name]))).responses == ["so 8", "so 7"]


def test_replies_in_parquet_are_opened(tmp_path):
    file = tmp_path / "a.parquet"
    pd.DataFrame({"response": [REPLIES["chat completion"]] * 2, "gold": ["7", "8"]}).to_parquet(file)
    assert read_outputs(file).responses == ["so 7", "so 7"]


def test_openais_batch_lines_are_paired_by_their_custom_id_and_failures_are_told(tmp_path):
    done = {"status_code": 200, "body": {"choices": [{"message": message("so 7")}]}}
    rows = [
        {"id": "batch_req_1", "custom_id": "p1", "response": done, "error": None, "gold": "7"},
        {"id": "batch_req_2", "custom_id": "p2", "response": None, "error": {"code": "expired"}, "gold": "7"},
        {"id": "batch_req_3", "custom_id": "p3", "response": {"status_code": 500, "body": {"error": {}}}, "gold": "7"},
        {"id": "batch_req_4", "custom_id": "p4", "response": {"choices": [{"message": message(None)}]}, "gold": "7"},
    ]
    outputs = read_outputs(rows_file(tmp_path, *rows))
    assert (outputs.ids, outputs.responses) == (["p1", "p2", "p3", "p4"], ["so 7", "", "", ""])
    assert outputs.notes == ("2 replies have no text, perhaps from a failed request; they count as empty answers.",)


def test_a_completion_with_gold_beside_it_is_a_row(tmp_path):
    row = {"id": "c", "object": "chat.completion", "choices": [{"index": 0, "message": message("so 7")}], "gold": "7"}
    outputs = read_outputs(rows_file(tmp_path, row))
    assert (outputs.responses, outputs.columns["response"]) == (["so 7"], "choices")


@pytest.mark.parametrize(
    "cell",
    [
        ["so 7", "so 8"],
        [["so 7"], ["so 8"]],
        {"choices": [{"message": message("so 7")}, {"message": message("so 8")}]},
        [{"generated_text": "so 7"}, {"generated_text": "so 8"}],
    ],
)
def test_of_several_samples_the_first_is_scored_and_that_is_said(cell, tmp_path):
    values = rows_file(tmp_path, {"response": cell, "gold": "7"}, {"response": ["so 9"], "gold": "7"})
    for file in (values, cells_file(tmp_path, json.dumps(cell), json.dumps(["so 9"]))):
        outputs = read_outputs(file)
        assert outputs.responses == ["so 7", "so 9"]
        assert outputs.notes == ("'response' contains up to 2 samples per row; only the first is scored.",)


@pytest.mark.parametrize(
    "text", ['{"answer": 7}', "[7]", "[3, 4]", "['a'", "{x: 7}", '{"text": "7"}', "[1/2, 7]", '{"error": "none, so 7"}']
)
def test_what_a_model_may_have_written_itself_stays_as_it_is(text, tmp_path):
    assert read_outputs(cells_file(tmp_path, text, "7")).responses == [text, "7"]


def test_json_that_the_model_wrote_in_every_row_is_text_and_that_is_said(tmp_path):
    outputs = read_outputs(cells_file(tmp_path, '{"why": "3 + 4", "answer": 7}', '{"why": "", "answer": 8}'))
    assert outputs.responses[0] == '{"why": "3 + 4", "answer": 7}'
    assert outputs.notes == ("'response' contains a JSON object in every row; it is read as text.",)


@pytest.mark.parametrize("write", [json.dumps, repr])
def test_a_tools_own_objects_in_every_row_are_refused(write, tmp_path):
    cells = [write({"data": {"written": f"so {n}"}, "usage": {"tokens": 34}}) for n in (7, 8)]
    with pytest.raises(
        KdprobeError, match=r"line 2, row 1: the cell in the column 'response' contains an object \(data, usage\)"
    ):
        read_outputs(cells_file(tmp_path, *cells))
    with pytest.raises(
        KdprobeError, match="line 2, row 1: the cell in the column 'response' contains a printed Python object"
    ):
        read_outputs(cells_file(tmp_path, "['so 7' 'so 8']"))


def test_a_list_that_a_model_wrote_in_one_answer_stays_text(tmp_path):
    assert read_outputs(cells_file(tmp_path, '["7"]', "so 7")).responses == ['["7"]', "so 7"]
    assert read_outputs(cells_file(tmp_path, '["7"]', "['so 8']")).responses == ["7", "so 8"]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (
            {"response": {"foo": 1, "bar": 2}, "gold": "7"},
            r"line 2, row 2: the cell in the column 'response' contains an object \(foo, b",
        ),
        ({"response": [1, 2, 3], "gold": "7"}, "line 2, row 2: the cell in the column 'response' contains a list of 3"),
        (
            {"response": [{"role": "user", "content": "q"}], "gold": "7"},
            "row 2: the cell in the column 'response' contains a list",
        ),
        ({"response": "7", "gold": {"value": 7}}, r"row 2: the cell in the column 'gold' contains an object \(value\)"),
        ({"response": "7", "gold": ["7", "8"]}, "row 2: the cell in the column 'gold' contains 2 gold values"),
        ({"response": "7", "gold": "7", "id": ["a"]}, "row 2: the cell in the column 'id' contains a list of 1"),
        ({"response": "ChatCompletion(id='x', choices=[Choice()])", "gold": "7"}, "contains a printed Python object"),
        ({"response": "<openai.Stream object at 0x7f00>", "gold": "7"}, "contains a printed Python object"),
    ],
)
def test_other_cells_are_refused_by_column_and_row(row, words, tmp_path):
    with pytest.raises(KdprobeError, match=words):
        read_outputs(rows_file(tmp_path, {"id": "x", "response": "7", "gold": "7"}, {"id": "y", **row}))


def test_one_gold_value_in_a_list_is_that_value(tmp_path):
    assert read_outputs(rows_file(tmp_path, {"response": "7", "gold": ["7"]})).gold == ["7"]
