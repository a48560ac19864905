import gzip
import json

import pandas as pd
import pytest

from kdprobe.comparison.answers import Columns, read_outputs
from kdprobe.errors import KdprobeError, UsageError
from kdprobe.problems.gold import gold_text

ROWS = [
    {"id": "a", "question": "q1", "answer": "3 + 4 = 7\n#### 7", "model_answer": "It is 7 ...", "cut": "False"},
    {"id": "b", "question": "q2", "answer": "#### 1,200", "model_answer": "The answer is $1,200", "cut": "False"},
    {"id": "c", "question": "q3", "answer": "#### 5", "model_answer": "I count 6", "cut": "True"},
    {"id": "d", "question": "q4", "answer": "#### 5", "model_answer": "", "cut": "True"},
]


def written(folder, kind):
    table = pd.DataFrame(ROWS).rename(columns={"cut": "cut_off"})
    file = folder / f"answers.{kind}"
    match kind:
        case "csv" | "csv.gz":
            table.to_csv(file, index=False)
        case "tsv":
            table.to_csv(file, index=False, sep="\t")
        case "jsonl":
            table.to_json(file, orient="records", lines=True)
        case "jsonl.gz":
            with gzip.open(file, "wt") as stream:
                stream.writelines(json.dumps(row) + "\n" for row in table.to_dict("records"))
        case "parquet":
            table.to_parquet(file)
    return file


@pytest.mark.parametrize("kind", ["csv", "csv.gz", "tsv", "jsonl", "jsonl.gz", "parquet"])
def test_every_kind_of_file_gives_the_same_score(kind, tmp_path, run_cli):
    (score,) = json.loads(run_cli("score", written(tmp_path, kind), "--json"))
    assert (score["n"], score["correct"], score["accuracy"]) == (4, 2, 0.5)
    assert (score["no_answer"], score["empty"], score["cut_off"]) == (0.25, 0.25, 0.5)
    assert score["interval"]["low"] < 0.5 < score["interval"]["high"]
    assert (score["file"], score["extractor"]) == (str(tmp_path / f"answers.{kind}"), "robust")


def test_texts_are_read_once_however_many_extractors_judge_them(tmp_path, monkeypatch):
    from kdprobe.comparison import text_shares
    from kdprobe.comparison.scoring import scores
    from kdprobe.models.thinking import split_thinking
    from kdprobe.problems.extractors import Published, Robust

    answers = ["", "<think>2 + 2</think>4", "<think>2 + 2", "4", "5"]
    file = tmp_path / "a.jsonl"
    file.write_text(
        "\n".join(json.dumps({"id": str(n), "response": text, "gold": "4"}) for n, text in enumerate(answers))
    )
    read = []
    monkeypatch.setattr(text_shares, "split_thinking", lambda text: read.append(text) or split_thinking(text))
    found = scores(read_outputs(file, Columns()), {"robust": Robust(), "published": Published()})
    assert read == answers
    assert [score.extractor for score in found] == ["robust", "published"]
    for score in found:
        assert (score.empty, score.thinking, score.unclosed_thinking, score.run_on) == (0.2, 0.4, 0.2, 0)


def test_all_extractors_stand_side_by_side(tmp_path, run_cli):
    files = [written(tmp_path, "csv"), written(tmp_path, "parquet")]
    scores = json.loads(run_cli("score", *files, "--extractor", "all", "--json"))
    assert [score["extractor"] for score in scores] == ["robust", "published", "strict", "flexible"] * 2
    assert [score["correct"] for score in scores[:4]] == [2, 2, 0, 1]
    text = run_cli("score", *files, "--extractor", "all")
    assert text.count("2/4") == 4


def test_lm_evals_samples_are_read_as_they_are(tmp_path, run_cli):
    rows = [
        {
            "doc_id": n,
            "doc": {"question": f"q{n}"},
            "target": "#### 7",
            "resps": [[f"so {answer}"]],
            "filtered_resps": ["x"],
        }
        for n, answer in enumerate([7, 8])
    ]
    file = tmp_path / "samples_gsm8k.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (score,) = json.loads(run_cli("score", file, "--json"))
    assert (score["n"], score["correct"], score["cut_off"]) == (2, 1, None)
    assert read_outputs(file, Columns()).keys == ["0", "1"]


def test_missing_cells_are_wrong_answers(tmp_path, run_cli):
    file = tmp_path / "answers.parquet"
    pd.DataFrame({"response": ["7", None, float("nan"), " "], "gold": ["7"] * 4}).to_parquet(file)
    (score,) = json.loads(run_cli("score", file, "--json"))
    assert (score["correct"], score["empty"], score["no_answer"]) == (1, 0.75, 0.75)


def test_columns_may_be_named(tmp_path, run_cli):
    file = tmp_path / "answers.csv"
    pd.DataFrame({"text": ["7"], "wanted": ["7"], "key": ["k"]}).to_csv(file, index=False)
    named = ["--response-column", "text", "--gold-column", "wanted", "--id-column", "key", "--json"]
    assert json.loads(run_cli("score", file, *named))[0]["correct"] == 1
    with pytest.raises(UsageError, match=r"No column of .* is recognised as the responses"):
        read_outputs(file, Columns())
    with pytest.raises(UsageError, match="no column 'nothing'"):
        read_outputs(file, Columns(response="text", gold="wanted", id="nothing"))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", "response,gold\n", "has no answers"),
        ("a.csv", "response,gold\n7,\n", "row 1: the column 'gold' has no gold value"),
        ("a.csv", "", "cannot be read"),
        ("a.jsonl", "{\n", "cannot be read"),
        ("a.jsonl", "[1]\n", "not a JSON object"),
        ("a.parquet", "PAR1", "cannot be read"),
        ("a.csv.gz", "no gzip", "cannot be read"),
        ("a.txt", "7", "neither JSON nor a table"),
    ],
)
def test_what_cannot_be_scored_is_told_in_a_sentence(tmp_path, name, content, words):
    file = tmp_path / name
    file.write_text(content)
    with pytest.raises((KdprobeError, UsageError), match=words):
        read_outputs(file, Columns())


def test_a_missing_file_is_told():
    from pathlib import Path

    with pytest.raises(KdprobeError, match="No such file"):
        read_outputs(Path("/nowhere/a.csv"), Columns())


@pytest.mark.parametrize(
    ("gold", "value"),
    [("a\n#### 1,200", "1,200"), ("a\nA: 18", "18"), ("18", "18"), (" 3/4 ", "3/4"), ("A: 5\nmore", "A: 5\nmore")],
)
def test_gold_values_are_taken_from_solutions(gold, value):
    assert gold_text(gold) == value
