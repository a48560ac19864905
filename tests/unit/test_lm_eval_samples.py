"""What `lm_eval --log_samples` writes: each document once, whatever the filters; metrics if there is no text."""

import csv
import json

import pandas as pd
import pytest

from kdprobe.comparison.answers import read_outputs
from kdprobe.comparison.reading.columns import Columns
from kdprobe.comparison.reading.table import Table
from kdprobe.errors import KdprobeError

PLENTY = 40


def sample(number, text, name="none", **changes):
    """A row of a generative task whose gold value is 7."""
    row = {
        "doc_id": number,
        "doc": {"question": f"How many apples are there in basket {number}?", "answer": "3 + 4 = 7\n#### 7"},
        "target": "3 + 4 = 7\n#### 7",
        "arguments": {"gen_args_0": {"arg_0": f"Q: How many apples are there in basket {number}?", "arg_1": {}}},
        "resps": [[text]],
        "filtered_resps": ["[invalid]"],
        "filter": name,
        "metrics": ["exact_match"],
        "doc_hash": f"h{number}",
        "exact_match": 0.0,
    }
    return row | changes


def choice(number, right, **changes):
    """A row of a multiple-choice task, as `sanitize_list` leaves the log-likelihoods."""
    row = {
        "doc_id": number,
        "doc": {"question": f"Which letter is number {number}?", "choices": ["a", "b"]},
        "target": "0",
        "arguments": {f"gen_args_{n}": {"arg_0": "Q", "arg_1": f" {'ab'[n]}"} for n in range(2)},
        "resps": [[["-1.5", "False"]], [["-0.5", "True"]]],
        "filtered_resps": [["-1.5", "False"], ["-0.5", "True"]],
        "filter": "none",
        "metrics": ["acc", "acc_norm"],
        "acc": float(right),
        "acc_norm": 0.0,
    }
    return row | changes


def samples_file(folder, rows, name="samples_task.jsonl"):
    file = folder / name
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def filtered(count=PLENTY):
    """Two filters over the same documents; every other answer is right."""
    return [
        sample(number, f"so {7 if number % 2 else 8}", name)
        for name in ("strict-match", "flexible-extract")
        for number in range(count)
    ]


def test_each_document_counts_once_whatever_its_filters(tmp_path, run_cli):
    both, one = samples_file(tmp_path, filtered()), samples_file(tmp_path, filtered()[:PLENTY], "one.jsonl")
    (score,), (single,) = (json.loads(run_cli("score", file, "--json")) for file in (both, one))
    assert (score["n"], score["correct"]) == (PLENTY, PLENTY / 2)
    assert score["interval"] == single["interval"]
    assert score["columns"] == {"response": "resps", "gold": "target", "id": "doc_id"}
    assert score["notes"] == [
        (
            "The file has lm-eval's samples with the filters strict-match, flexible-extract; each document is read "
            "once, unfiltered."
        )
    ]
    (pair,) = json.loads(run_cli("compare", both, one, "--json"))["pairs"]
    assert (pair["n"], pair["only_a"], pair["only_b"]) == (PLENTY, 0, 0)


def test_a_table_with_one_answer_to_each_document_is_not_copied(tmp_path, monkeypatch):
    monkeypatch.setattr(Table, "only", lambda *_: pytest.fail("copied"))
    assert read_outputs(samples_file(tmp_path, [sample(n, "so 7") for n in range(PLENTY)])).samples is None


@pytest.mark.parametrize("kind", ["csv", "parquet", "json"])
def test_samples_are_known_in_other_formats_too(kind, tmp_path):
    file = tmp_path / f"samples.{kind}"
    match kind:
        case "csv":
            with file.open("w", newline="") as stream:
                writer = csv.DictWriter(stream, list(sample(0, "")))
                writer.writeheader()
                writer.writerows(filtered())
        case "parquet":
            pd.DataFrame(filtered()).drop(columns="arguments").to_parquet(file)
        case "json":
            file.write_text(json.dumps(filtered()))
    outputs = read_outputs(file)
    assert outputs.responses == [f"so {7 if number % 2 else 8}" for number in range(PLENTY)]
    assert outputs.gold == ["7"] * PLENTY
    assert outputs.questions[3] == "How many apples are there in basket 3?"


@pytest.mark.parametrize("resps", ["so 7", ["so 7"], [["so 7"]], [["so 7", "so 8"]], ["so 7", "so 8"]])
def test_flat_and_nested_responses_are_read(resps, tmp_path):
    outputs = read_outputs(samples_file(tmp_path, [sample(n, "", resps=resps) for n in range(3)]))
    several = "so 8" in str(resps)
    assert outputs.responses == (["so 7", "so 8"] if several else ["so 7"]) * 3
    assert outputs.ids == (["0", "0", "1", "1", "2", "2"] if several else ["0", "1", "2"])
    assert outputs.samples == ([0, 1] * 3 if several else None)
    assert outputs.notes == ()


def test_what_a_filter_left_is_read_where_there_is_nothing_else(tmp_path):
    rows = [sample(n, "", "flexible-extract", filtered_resps=["7"]) for n in range(3)]
    outputs = read_outputs(samples_file(tmp_path, [{k: v for k, v in row.items() if k != "resps"} for row in rows]))
    assert outputs.responses == ["7"] * 3
    (note,) = outputs.notes
    assert note.endswith("filter flexible-extract; each document is read once, filtered by 'flexible-extract'.")


@pytest.mark.parametrize("number", [[1], {"a": 1}])
def test_a_document_without_a_usable_id_is_refused(tmp_path, number):
    with pytest.raises(KdprobeError, match="'doc_id' contains"):
        read_outputs(samples_file(tmp_path, [sample(number, "#### 7"), sample([2], "#### 7")]))


def test_old_samples_without_filter_and_metrics_are_read(tmp_path):
    old = [{"doc_id": n, "doc": {"question": f"q{n}"}, "target": "#### 7", "resps": [["7"]], "acc": 0.0} for n in "ab"]
    assert read_outputs(samples_file(tmp_path, [{**row, "arguments": [["q", {}]]} for row in old])).metric == "acc"
    textual = [{key: value for key, value in row.items() if key != "acc"} for row in old]
    assert read_outputs(samples_file(tmp_path, textual)).responses == ["7", "7"]


@pytest.mark.parametrize(
    ("changes", "metric", "others"),
    [
        ({}, "acc", "acc_norm"),
        ({"metrics": ["perplexity", "acc"], "perplexity": -1.5}, "acc", "perplexity"),
        ({"metrics": ["bias", "acc"], "bias": 1}, "acc", "bias"),
        # Numbers as old versions wrote them.
        ({"resps": [[[-1.5, False]], [[-0.5, True]]]}, "acc", "acc_norm"),
        # Written text, but the target is no number: a word, or the number of a choice.
        ({"resps": [["Paris"]], "target": "Paris", "metrics": ["exact_match"]}, "exact_match", None),
        ({"resps": [["..."]], "target": "0", "metrics": ["prompt_level_strict_acc"]}, "prompt_level_strict_acc", None),
    ],
)
def test_other_tasks_are_judged_by_their_own_metric_which_is_named(changes, metric, others, tmp_path, run_cli):
    rows = [choice(n, n % 4 > 0, **changes) | {metric: n % 4 > 0} for n in range(PLENTY)]
    file = samples_file(tmp_path, rows)
    (score,) = json.loads(run_cli("score", file, "--json"))
    assert (score["n"], score["correct"]) == (PLENTY, 30)
    assert (score["extractor"], score["columns"]["metric"]) == (f"lm-eval's {metric}", metric)
    assert score["no_answer"] is None
    assert f"own metric {metric}" in score["notes"][-1]
    assert others is None or f"(others: {others})" in score["notes"][-1]
    told = run_cli("score", file, "--extractor", "all")
    assert told.count("30/40") == 1
    assert f"Judged by lm-eval's own metric {metric}" in " ".join(told.split())


def test_models_are_compared_by_that_metric(tmp_path, run_cli, capsys):
    from kdprobe.cli import _run

    rows = {right: [choice(n, n < right) for n in range(PLENTY)] for right in (10, 30)}
    a, b = (samples_file(tmp_path, rows[right], f"{right}.jsonl") for right in rows)
    data = json.loads(run_cli("compare", a, b, "--json"))
    assert data["pairs"][0]["difference"] == pytest.approx(-0.5)
    assert {arm["extractor"] for arm in data["arms"]} == {"lm-eval's acc"}
    other = samples_file(tmp_path, [row | {"metrics": ["acc_norm"]} for row in rows[10]], "other.jsonl")
    assert _run(["compare", str(a), str(other)]) == 1
    assert (
        "other.jsonl by lm-eval's acc_norm. Only compare arms that answered the same task." in capsys.readouterr().err
    )


def test_text_is_read_by_an_extractor_where_its_column_is_named(tmp_path):
    rows = [choice(n, False, resps=[["so 7"]], target="7") for n in range(3)]
    assert read_outputs(samples_file(tmp_path, rows)).metric == "acc"
    named = read_outputs(samples_file(tmp_path, rows), Columns(response="resps"))
    assert (named.metric, named.responses) == (None, ["so 7"] * 3)
    assert read_outputs(samples_file(tmp_path, filtered()), Columns(gold="answer")).columns["gold"] == "answer"


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (
            [choice(n, True, metrics=["word_perplexity"], word_perplexity=[-1.5, 3]) for n in range(2)],
            r"no metric that is 0 or 1 for every document \(metrics: word_perplexity\)",
        ),
        ([choice(n, True, metrics=["f1"], f1=0.25) for n in range(2)], "no metric that is 0 or 1"),
        ([sample(0, "7"), sample(1, "7"), sample(0, "8")], "line 3 repeats document 0 under the filter 'none'"),
        (
            [sample(0, "7"), {"response": "7", "gold": "7"}],
            "the first row is one of lm-eval's samples, but line 2 is not",
        ),
    ],
)
def test_what_cannot_be_judged_is_refused_never_zero(rows, words, tmp_path):
    with pytest.raises(KdprobeError, match=words):
        read_outputs(samples_file(tmp_path, rows))
