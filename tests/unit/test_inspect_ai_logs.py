"""Logs written by inspect_ai: answers, the log's own scores, epochs and errors."""

import gzip
import json
import zipfile

import pytest

import kdprobe
from kdprobe.comparison.answers import read_outputs
from kdprobe.comparison.reading.columns import Columns
from kdprobe.errors import KdprobeError
from tool_logs import LOGS, changed, members, rezipped

HALF = [
    "We add 3 and 4, so the answer is 7",
    "The answer is 16",
    "We add 6 and 6, so the answer is 12",
    "The answer is 22",
]


@pytest.mark.parametrize("name", ["sums.eval", "sums.json"])
def test_both_forms_give_question_answer_target_and_conditions(name):
    outputs = read_outputs(LOGS / name)
    assert outputs.responses == HALF
    assert outputs.gold == ["7", "15", "12", "21"]
    assert outputs.ids == ["1", "2", "3", "4"]
    assert outputs.questions[1] == "How many apples are 10 apples and 5 apples?"
    assert outputs.tokens == [9] * 4
    assert outputs.cut_off == [False] * 4
    assert outputs.columns == {"response": "output", "gold": "target", "id": "id"}
    assert outputs.conditions == {
        "prompt": {"form": "system: Answer briefly.\n\nuser: {question}"},
        "budget": {"tokens": "64"},
        "decoding": {"temperature": "0.5"},
        "task": {"inspect_ai's task": "sums 0"},
        "versions": {"inspect_ai": "0.3.285"},
    }
    assert outputs.notes == ("Correct by inspect_ai's own metrics: match 2 of 4.",)
    assert outputs.left_out == 0


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
def test_content_decides_whatever_the_name_and_compression(method, tmp_path):
    whole = read_outputs(LOGS / "sums.eval")
    for name in ("log", "log.csv", "log.zip", "log.eval"):
        assert read_outputs(rezipped(tmp_path / name, members("sums.eval"), method)).responses == whole.responses
    (tmp_path / "named.eval").write_bytes((LOGS / "sums.json").read_bytes())
    (tmp_path / "a.json.gz").write_bytes(gzip.compress((LOGS / "sums.json").read_bytes()))
    assert read_outputs(tmp_path / "named.eval").responses == read_outputs(tmp_path / "a.json.gz").responses == HALF


def test_epochs_are_answers_to_the_same_problem(run_cli):
    (score,) = json.loads(run_cli("score", LOGS / "epochs.eval", "--json"))
    assert (score["n"], score["correct"]) == (12, 8)
    assert "The 12 answers belong to 4 problems; intervals are over problems." in score["notes"]
    compared = json.loads(run_cli("compare", LOGS / "epochs.eval", LOGS / "sums.json", "--json"))
    (pair,) = compared["pairs"]
    assert [(arm["n"], arm["problems"], arm["samples"]) for arm in compared["arms"]] == [(12, 4, 3), (4, 4, 1)]
    right = [arm["correct"] / arm["n"] for arm in compared["arms"]]
    assert (pair["n"], pair["samples"]) == (4, [1, 3])
    assert pair["difference"] == pytest.approx(right[0] - right[1])


def test_thinking_is_not_the_answer_and_a_used_up_budget_is_cut_off():
    outputs = read_outputs(LOGS / "thinking.eval")
    assert outputs.responses[0] == "<think>\n3 and 4, that is 8? No, 7.\n</think>\n\nThe answer is 7"
    assert outputs.responses[1] == "Let me add them: 10 and"
    assert outputs.cut_off == [False, True, False, False]


@pytest.mark.parametrize(
    ("name", "metric", "right", "others"),
    [
        ("choices", "choice", [True, False, True], None),
        # The target is a word; f1 happens to be 0 or 1 in every sample, but is not an accuracy.
        ("words", "exact", [True, False, True], "both/right, f1, both/brief"),
        ("ungraded", "marked", [True, False, True], None),
    ],
)
def test_other_tasks_are_judged_by_the_logs_scorer_which_is_named(name, metric, right, others, run_cli):
    outputs = read_outputs(LOGS / f"{name}.eval")
    assert (outputs.tool, outputs.metric, outputs.right) == ("inspect_ai", metric, right)
    assert len(outputs.responses) == 3
    also = f" (others: {others})" if others else ""
    assert f"Judged by inspect_ai's own metric {metric}{also}, not by an extractor." in outputs.notes
    (score,) = json.loads(run_cli("score", LOGS / f"{name}.eval", "--json"))
    assert (score["extractor"], score["correct"], score["no_answer"]) == (f"inspect_ai's {metric}", 2, None)


@pytest.mark.parametrize(
    ("value", "right"),
    [("C", True), ("I", False), ("N", False), (1, True), (0.0, False), (True, True), ("yes", True), ("0", False)],
)
def test_scores_are_read_as_inspect_ai_reads_them(value, right, tmp_path):
    file = changed(tmp_path / "a.json", "sums.json", samples=lambda s: s | {"scores": {"graded": {"value": value}}})
    outputs = read_outputs(file)
    assert (outputs.metric, outputs.right) == ("graded", [right] * 4)


@pytest.mark.parametrize("value", ["P", 0.25, [1, 0], None, "B", "NaN", {"a": 0.5}])
def test_what_is_neither_right_nor_wrong_judges_nothing(value, tmp_path):
    file = changed(tmp_path / "a.json", "sums.json", samples=lambda s: s | {"scores": {"graded": {"value": value}}})
    with pytest.raises(KdprobeError, match="no metric that is 0 or 1 for every document"):
        read_outputs(file)
    assert read_outputs(file, Columns(response="output")).responses == HALF


def test_partial_credit_is_refused():
    with pytest.raises(KdprobeError, match=r"no metric that is 0 or 1 for every document \(metrics: marked\)"):
        read_outputs(LOGS / "partly.eval")


def test_an_unscored_log_is_read_by_an_extractor(run_cli):
    (score,) = json.loads(run_cli("score", LOGS / "unscored.eval", "--json"))
    assert (score["extractor"], score["n"], score["correct"], score["notes"]) == ("robust", 4, 4, [])


@pytest.mark.parametrize(
    ("name", "read", "why"),
    [
        ("errors", 3, "its status is 'success', and 3 of 4 samples are read (1 ended in an error)"),
        # The fourth sample was cancelled when the third failed.
        ("failed", 2, "its status is 'error', and 2 of 4 samples are read (2 ended in an error)"),
        ("killed", 2, "its status is 'started', and 2 of 4 samples are read (2 missing)"),
        ("ungraded", 3, "its status is 'success', and 3 of 4 samples are read (1 without a score)"),
    ],
)
def test_samples_without_a_result_are_counted_and_never_wrong(name, read, why, run_cli):
    (score,) = json.loads(run_cli("score", LOGS / f"{name}.eval", "--json"))
    assert (score["n"], score["left_out"]) == (read, 4 - read)
    assert f"inspect_ai's log is not complete: {why}." in score["notes"]
    assert "left-out" in {finding["code"] for finding in score["findings"]}
    assert f"Samples without a result: {name} {4 - read} of 4." in " ".join(
        run_cli("score", LOGS / f"{name}.eval").split()
    )


def test_invalidated_samples_are_left_out_and_limits_are_told(tmp_path):
    def change(sample):
        limits = {2: "token", 3: "time"}
        invalid = {"invalidation": {"author": "me"}} if sample["id"] == 1 else {}
        limit = {"limit": {"type": limits[sample["id"]], "limit": 9}} if sample["id"] in limits else {}
        return sample | invalid | limit

    outputs = read_outputs(changed(tmp_path / "a.json", "sums.json", samples=change))
    assert (outputs.ids, outputs.left_out) == (["2", "3", "4"], 1)
    assert outputs.cut_off == [True, False, False]
    assert "2 samples ran into a limit (token 1, time 1)." in outputs.notes
    assert any("(1 invalidated)" in note for note in outputs.notes)


def test_references_to_attachments_are_resolved(tmp_path):
    def change(sample):
        message = sample["output"]["choices"][0]["message"] | {"content": "attachment://a"}
        choice = sample["output"]["choices"][0] | {"message": message}
        return sample | {
            "input": "attachment://q",
            "attachments": {"a": "#### 7", "q": f"What is {sample['id']}?"},
            "output": sample["output"] | {"choices": [choice]},
        }

    outputs = read_outputs(changed(tmp_path / "a.json", "sums.json", samples=change))
    assert (outputs.responses[0], outputs.questions[0]) == ("#### 7", "What is 1?")


def test_a_column_of_the_metadata_can_be_selected(tmp_path):
    file = changed(
        tmp_path / "a.json", "sums.json", samples=lambda s: s | {"metadata": {"key": f"k{s['id']}", "sum": 7}}
    )
    outputs = read_outputs(file, Columns(gold="sum", id="key"))
    assert (outputs.gold, outputs.ids) == (["7"] * 4, ["k1", "k2", "k3", "k4"])


def test_answers_judged_in_different_ways_are_not_compared(tmp_path):
    other = changed(tmp_path / "a.json", "sums.json", samples=lambda s: s | {"scores": {"graded": {"value": "C"}}})
    with pytest.raises(
        KdprobeError, match=r"judged in different ways: .*sums.eval by robust; .* by inspect_ai's graded"
    ):
        kdprobe.compare(LOGS / "sums.eval", other, progress=False)
