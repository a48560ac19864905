"""Details written by lighteval: answers, the tool's own metrics, and documents with two rows."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import kdprobe
from kdprobe.comparison.answers import outputs_of, read_outputs
from kdprobe.comparison.reading.columns import Columns
from kdprobe.errors import KdprobeError

DETAILS = Path(__file__).parents[1] / "data" / "tool_logs"
QUESTIONS = [f"How many apples are {a} apples and {b} apples?" for a, b in [(3, 4), (10, 5), (6, 6), (20, 1)]]


def details(name):
    return pq.read_table(DETAILS / f"lighteval_{name}.parquet").to_pylist()


def by_id(outputs, values):
    return [value for _, value in sorted(zip(outputs.ids, values, strict=True))]


def flat(question, predictions, gold, metrics, **more):
    """A row as lighteval 0.8 and earlier wrote it."""
    return {
        "example": question, "instruction": "", "full_prompt": f"Q: {question}", "num_effective_few_shots": 0,
        "num_asked_few_shots": 0, "predictions": predictions, "prediction_logits": [], "input_tokens": [[1, 2]],
        "cont_tokens": [[3]], "truncated": [0], "padded": [1], "gold": gold, "pred_logits": [], "choices": [],
        "gold_index": [], "metrics": metrics, "specifics": None,
    } | more  # fmt: skip


def test_generated_answers_are_read_with_question_and_gold():
    outputs = read_outputs(DETAILS / "lighteval_sums.parquet")
    assert sorted(outputs.ids) == ["0", "1", "2", "3"]
    assert by_id(outputs, outputs.gold) == ["7", "15", "12", "21"]
    assert by_id(outputs, outputs.questions) == QUESTIONS
    assert by_id(outputs, outputs.responses)[0] == "<think>3 and 4, that is 8? No, 7.</think>The answer is 7"
    assert outputs.columns == {"response": "model_response.text", "gold": "doc.choices", "id": "doc.id"}
    assert outputs.conditions == {
        "prompt": {"form": "{question}"},
        "task": {"lighteval's task": "sums|0"},
        "budget": {"tokens": "16"},
    }
    assert outputs.notes == ("Correct by lighteval's own metrics: extractive_match 2 of 4.",)
    # Transformers' token ids are padded to the longest answer of a batch, so their number says nothing.
    assert outputs.cut_off is outputs.tokens is None


def test_choices_are_judged_by_the_own_metric(run_cli):
    (score,) = json.loads(run_cli("score", DETAILS / "lighteval_choices.parquet", "--json"))
    assert (score["extractor"], score["n"], score["correct"]) == ("lighteval's acc", 4, 3)
    assert score["columns"] == {"response": None, "gold": "doc.choices", "id": "doc.id", "metric": "acc"}
    outputs = read_outputs(DETAILS / "lighteval_choices.parquet")
    assert by_id(outputs, outputs.right) == [False, True, True, True]
    assert outputs.conditions.keys() == {"prompt", "task"}


def test_a_document_with_a_row_for_each_kind_of_request_counts_once():
    assert len(details("mixed")) == 8
    outputs = read_outputs(DETAILS / "lighteval_mixed.parquet")
    assert (len(outputs.responses), outputs.metric) == (4, None)
    assert by_id(outputs, outputs.responses)[2] == "The answer is 12"
    assert set(outputs.notes) == {"Correct by lighteval's own metrics: acc 3 of 4, em 0 of 4."}


def test_several_samples_are_answers_to_the_same_problem():
    (score,) = kdprobe.score(DETAILS / "lighteval_samples.parquet", progress=False).details
    assert (score.n, score.problems, score.samples, score.correct) == (8, 4, 2, 4)
    assert score.notes == ["The 8 answers belong to 4 problems; intervals are over problems."]


def test_models_are_compared_across_tools_by_question(tmp_path, run_cli):
    compared = json.loads(run_cli("compare", DETAILS / "lighteval_sums.parquet", DETAILS / "sums.eval", "--json"))
    (pair,) = compared["pairs"]
    assert (pair["n"], pair["only_a"], pair["only_b"]) == (4, 0, 0)
    assert "paired by question" in compared["pairing"]


@pytest.mark.parametrize("name", ["details", "details.bin", "details.csv"])
def test_content_decides_whatever_the_name(name, tmp_path):
    shutil.copy(DETAILS / "lighteval_sums.parquet", tmp_path / name)
    assert len(read_outputs(tmp_path / name).responses) == 4


@pytest.mark.parametrize("printed", [False, True])
def test_older_versions_have_flat_rows_and_the_oldest_print_their_cells(printed, tmp_path):
    rows = [flat(question, [f"#### {n}"], [f"so\n#### {n % 2}"], {"qem": 1.0}) for n, question in enumerate(QUESTIONS)]
    if printed:
        rows = [{name: str(cell) for name, cell in row.items()} for row in rows]
    pd.DataFrame(rows).to_parquet(tmp_path / "a.parquet")
    outputs = read_outputs(tmp_path / "a.parquet")
    assert outputs.responses == ["#### 0", "#### 1", "#### 2", "#### 3"]
    assert (outputs.gold, outputs.questions, outputs.ids) == (["0", "1", "0", "1"], QUESTIONS, None)
    assert outputs.conditions == {"prompt": {"form": "Q: {question}"}}
    chosen = {"gold": [], "choices": [" A", " B"], "gold_index": [1], "predictions": [[-1.5, False], [-0.5, True]]}
    rows = [flat(question, [], [], {"acc": int(n > 0)}) | chosen for n, question in enumerate(QUESTIONS)]
    judged = outputs_of([{k: str(v) for k, v in row.items()} if printed else row for row in rows], "rows")
    assert (judged.metric, judged.right, judged.gold) == ("acc", [False, True, True, True], ["B"] * 4)


def test_thinking_that_a_server_returned_separately_precedes_the_answer():
    rows = details("sums")
    for row in rows:
        row["model_response"] |= {"text": ["The answer is 7"], "reasonings": ["It is 7."]}
    assert outputs_of(rows, "rows").responses == ["<think>\nIt is 7.\n</think>\n\nThe answer is 7"] * 4


def test_shortened_prompts_and_several_gold_answers_are_told():
    rows = details("sums")
    for row in rows:
        row["model_response"]["truncated_tokens_count"] = 3
        row["doc"] |= {"choices": ["7", "8"], "gold_index": [0, 1]}
    outputs = outputs_of(rows, "rows")
    assert (outputs.metric, outputs.gold) == ("extractive_match", ["7 | 8"] * 4)
    assert "4 prompts did not fit into the model's context and were truncated." in outputs.notes


def test_a_column_of_the_documents_details_can_be_selected():
    rows = details("sums")
    for number, row in enumerate(rows):
        row["doc"]["specific"] = {"sum": number}
    assert outputs_of(rows, "rows", Columns(gold="sum")).gold == ["0", "1", "2", "3"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda rows: rows + rows[:1], "document 2 appears twice"),
        (lambda rows: [*rows, {"response": "7", "gold": "7"}], "a later row has a different format"),
        (lambda rows: [row | {"doc": None} for row in rows], "no document with a query"),
        (
            lambda rows: [row | {"metric": {"acc": 0.5}, "model_response": {}} for row in rows],
            "no metric that is 0 or 1",
        ),
        (
            lambda rows: [row | {"doc": row["doc"] | {"task_name": row["doc"]["id"]}} for row in rows],
            "has several tasks",
        ),
    ],
)
def test_what_cannot_be_judged_is_refused(change, words, tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(change(details("sums"))))
    with pytest.raises(KdprobeError, match=words):
        read_outputs(tmp_path / "a.json")


def test_another_parquet_file_is_refused(tmp_path):
    pq.write_table(pa.table({"doc": ["a"], "metric": [1]}), tmp_path / "a")
    with pytest.raises(
        KdprobeError, match=r"No column of .* is recognised as the responses; its columns are doc, metric"
    ):
        read_outputs(tmp_path / "a")
