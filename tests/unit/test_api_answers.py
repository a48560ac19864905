"""`score` and `compare` in Python give the numbers of the commands, from files, tables and lists."""

import json

import numpy as np
import pandas as pd
import pytest

import kdprobe
from kdprobe.errors import KdprobeError, UsageError

GOLD = ["7", "1200", "5", "5", "12", "3"]
BEFORE = ["It is 7", "1,200", "I count 6", "", "no idea", "3"]
AFTER = ["It is 7", "1,200", "5", "so 5", "12", "4"]


def rows(responses):
    return [
        {"id": f"p{n}", "question": f"q{n}", "response": response, "gold": gold}
        for n, (response, gold) in enumerate(zip(responses, GOLD, strict=True))
    ]


@pytest.fixture
def files(tmp_path):
    for name, responses in (("a", BEFORE), ("b", AFTER)):
        pd.DataFrame(rows(responses)).to_csv(tmp_path / f"{name}.csv", index=False)
    return tmp_path / "a.csv", tmp_path / "b.csv"


def test_pairs_are_those_of_the_command(files, run_cli):
    result = kdprobe.compare(*files)
    told = run_cli("compare", *files, "--json")
    assert result.to_json() + "\n" == told
    (pair,), (row,) = json.loads(told)["pairs"], result.pairs.to_dict("records")
    assert (row["a"], row["b"], row["n"], row["only_a"], row["only_b"]) == ("a", "b", 6, 1, 3)
    assert row["difference"] == pytest.approx(-2 / 6)
    assert row["p"] == row["p_holm"] == 0.625
    assert {name: row[name] for name in ("family", "difference", "p", "p_holm", "detectable")} == {
        name: pair[name] for name in ("family", "difference", "p", "p_holm", "detectable")
    }
    assert [row["interval_low"], row["interval_high"]] == [pair["interval"]["low"], pair["interval"]["high"]]
    assert result.scores["name"].tolist() == ["a", "b"]
    assert result.scores["correct"].tolist() == [3, 5]
    assert result.verdict == json.loads(told)["verdict"]


def test_scores_are_those_of_the_command(files, run_cli):
    result = kdprobe.score(*files, extractor="all")
    told = run_cli("score", *files, "--extractor", "all", "--json")
    assert result.to_json() + "\n" == told
    assert result.scores[["extractor", "correct"]].values.tolist() == [
        [score["extractor"], score["correct"]] for score in json.loads(told)
    ]
    assert result.scores["interval_low"].tolist() == [score["interval"]["low"] for score in json.loads(told)]


def test_columns_are_the_same_whatever_is_known(files):
    scored = kdprobe.score([row | {"log_p_gold_value": -1.0} for row in rows(AFTER)]).scores
    plain = kdprobe.score(files[0]).scores
    assert list(scored) == list(plain)
    assert scored["log_p_gold_value"].item() == -1.0
    assert plain["log_p_interval_low"].isna().all()


@pytest.mark.parametrize("make", [pd.DataFrame, list, lambda data: pd.DataFrame(data).set_index("id")])
def test_tables_and_lists_are_read_as_files_are(files, make):
    named = kdprobe.compare({"a": make(rows(BEFORE)), "b": make(rows(AFTER))})
    read = kdprobe.compare(*files)
    pd.testing.assert_frame_equal(named.pairs, read.pairs)
    numbers = ["n", "correct", "no_answer", "empty"]
    pd.testing.assert_frame_equal(named.scores[numbers], read.scores[numbers])
    assert kdprobe.score(make(rows(BEFORE))).scores["correct"].tolist() == [3]


def test_missing_cells_of_a_table_are_those_of_a_file():
    answers = [*rows(AFTER)[:4], rows(AFTER)[4] | {"response": None}, rows(AFTER)[5] | {"response": float("nan")}]
    (score,) = kdprobe.score(pd.DataFrame(answers)).to_dict()
    assert (score["n"], score["correct"], score["empty"]) == (6, 4, 2 / 6)
    # As text they are three letters.
    (score,) = kdprobe.score([*rows(AFTER)[:5], rows(AFTER)[5] | {"response": "nan"}]).to_dict()
    assert score["empty"] == 0


def test_numpys_numbers_are_plain_ones():
    table = pd.DataFrame(rows(AFTER)).assign(tokens=[3, 4, 5, 6, 7, 8], gold=[7, 1200, 5, 5, 12, 3])
    (score,) = kdprobe.score(table).to_dict()
    assert (score["correct"], score["mean_tokens"]) == (5, 5.5)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ((), "nothing to score"),
        ((3,), "The answers are an int"),
        (([1, 2],), "Row 1 of the answers is an int"),
        ((pd.DataFrame([[1, 2]], columns=["x", "x"]),), "two columns called 'x'"),
        ((pd.DataFrame(),), "has no answers"),
        (("nowhere.csv",), "cannot be read"),
    ],
)
def test_what_cannot_be_scored_is_one_sentence(given, words):
    with pytest.raises(KdprobeError, match=words):
        kdprobe.score(*given)


def test_what_cannot_be_compared_is_one_sentence(files):
    with pytest.raises(UsageError, match="which has no name"):
        kdprobe.compare(pd.DataFrame(rows(BEFORE)), files[1])
    with pytest.raises(UsageError, match="Two sets of answers have the name 'a'"):
        kdprobe.compare(files[0], {"a": rows(AFTER)})
    with pytest.raises(UsageError, match="needs at least two arms"):
        kdprobe.compare(files[0])


@pytest.fixture
def folder(tmp_path):
    for name, responses in (("a", BEFORE), ("b", AFTER)):
        lines = [json.dumps(row | {"cut_off": name == "b"}) for row in rows(responses)]
        (tmp_path / "answers").mkdir(exist_ok=True)
        (tmp_path / "answers" / f"{name}.jsonl").write_text("\n".join(lines))
    return tmp_path / "answers"


def test_lists_of_paths_and_folders_are_their_files(files, folder, run_cli):
    assert kdprobe.score(list(files)).to_dict() == kdprobe.score(*files).to_dict()
    assert kdprobe.compare(list(files)).to_dict() == kdprobe.compare(*files).to_dict()
    scored = kdprobe.score(folder)
    assert scored.scores[["name", "correct"]].values.tolist() == [["a", 3], ["b", 5]]
    assert [row["name"] for row in json.loads(run_cli("score", folder, "--json"))] == ["a", "b"]
    (pair,) = json.loads(run_cli("compare", folder, "--json"))["pairs"]
    assert (pair["a"], pair["b"], pair["only_b"]) == ("a", "b", 3)
    with pytest.raises(UsageError, match=r"has 2 \.jsonl files\. Pass one of them, such as .*a\.jsonl"):
        kdprobe.compare({"one": folder}, files[0])
    (folder / "b.jsonl").unlink()
    assert kdprobe.compare({"one": folder}, files[1]).scores["name"].tolist() == ["one", "b"]


def test_folders_without_answers_say_what_was_looked_for(tmp_path):
    empty, tables, nested = (tmp_path / name for name in ("empty", "tables", "nested"))
    for made in (empty, tables, nested / "model"):
        made.mkdir(parents=True)
    (tables / "a.csv").write_text("response,gold\n7,7\n")
    (nested / "model" / "samples.jsonl").write_text('{"response": "7", "gold": "7"}\n')
    (empty / "notes.md").touch()
    hints = {
        empty: r"Pass files of answers \(\.csv, .*\), or a folder with \.jsonl files\.",
        tables: rf"Pass its files themselves, such as {tables / 'a.csv'}\.",
        nested: rf"Pass a folder inside it that has some, such as {nested / 'model'}\.",
    }
    for made, hint in hints.items():
        with pytest.raises(UsageError, match=rf"^The folder {made} has no \.jsonl files\. {hint}"):
            kdprobe.score(made)
        store = tmp_path / "store"
        told = rf"^The folder {made} has no \.jsonl files, and {store} has no finished run with this name\."
        with pytest.raises(UsageError, match=f"{told} {hint}"):
            kdprobe.compare(made, tables / "a.csv", store=store)


def test_scores_have_names_and_findings(folder):
    scored = kdprobe.score({"mine": folder / "b.jsonl"}, extractor="all")
    assert list(scored.scores)[:3] == ["name", "file", "extractor"]
    assert set(scored.scores["name"]) == {"mine"}
    cut = next(finding for finding in scored.findings if finding.code == "cut-off")
    assert "mine (robust) 100.0%" in cut.evidence
    assert "cut-off" in repr(scored)
    two = kdprobe.score(rows(BEFORE), [row | {"cut_off": True} for row in rows(AFTER)])
    assert "table (robust), number 2 100.0%" in next(f for f in two.findings if f.code == "cut-off").evidence


def test_findings_of_scores_reach_the_terminal_and_the_json(files, folder, run_cli):
    rows_told = json.loads(run_cli("score", folder, "--json"))
    codes = [[finding["code"] for finding in row["findings"]] for row in rows_told]
    assert codes == [["no-answer"], ["cut-off"]]
    assert {code for row in codes for code in row} == {finding.code for finding in kdprobe.score(folder).findings}
    assert rows_told[1]["findings"][0]["evidence"] == "Answers that reached the token budget: b 100.0%."
    told = " ".join(run_cli("score", folder).split())
    for finding in kdprobe.score(folder).findings:
        assert str(finding) in told
    # Both extractors' rows are named apart.
    both = json.loads(run_cli("score", folder / "b.jsonl", "--extractor", "all", "--json"))
    assert "b (robust) 100.0%" in both[0]["findings"][0]["evidence"]


def test_a_file_that_is_alone_at_the_floor_is_no_finding_of_both():
    wrong = kdprobe.score({"wrong": rows(["0"] * 6), "right": rows(AFTER)})
    assert [row["findings"] for row in wrong.to_dict()] == [[], []] == [wrong.findings, []]
    assert [finding["code"] for finding in kdprobe.score(rows(["0"] * 6)).to_dict()[0]["findings"]] == ["floor"]


def test_a_comparison_takes_one_extractor(files):
    with pytest.raises(UsageError, match=r"uses one extractor; `score` can use all\. Choose one of .*robust"):
        kdprobe.compare(*files, extractor="all")


def test_text_of_models_is_no_markup(files):
    bad = "<script>alert(1)</script>"
    shown = kdprobe.compare({bad: rows(BEFORE), "b": rows(AFTER)})._repr_html_()
    assert "<script>" not in shown
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in shown
    assert "mathjax_ignore" in shown
    shown = kdprobe.score({"a\x1b[31m": rows(BEFORE)})._repr_html_()
    assert "\x1b" not in shown


def test_on_a_terminal_a_result_says_what_it_shows(files):
    shown = repr(kdprobe.compare(*files)).splitlines()
    assert shown[0].startswith("<CompareResult with at_k, at_k_pairs, comparison, findings, leaks, lengths, pairs,")
    assert shown[1] == "Verdict:"
    header = shown.index("Accuracy:") + 1
    assert shown[header].split()[:3] == ["name", "correct", "n"]
    assert [line.split()[:3] for line in shown[header + 1 : header + 3]] == [["a", "3", "6"], ["b", "5", "6"]]
    many = kdprobe.compare({f"a{number}": rows(AFTER) for number in range(20)})
    assert len(repr(many).splitlines()) <= 41
    assert "... and 8 more rows" in repr(many)
    assert "\x1b" not in repr(kdprobe.compare({"a\x1b[31m": rows(BEFORE), "b": rows(AFTER)}))


def test_dicts_are_what_the_json_says(files):
    for result in (
        kdprobe.compare(*files),
        kdprobe.score(*files),
        kdprobe.compare({"a": rows([""] * 6), "b": rows([""] * 6)}),
    ):
        assert result.to_dict() == json.loads(result.to_json())


def test_no_progress_is_silence_and_warnings_are_kept(files, tmp_path, capfd):
    (tmp_path / "broken_one.py").write_text(
        "from kdprobe import ExtractorSpec, hookimpl\n"
        "class Broken:\n"
        "    def extract(self, response):\n        raise RuntimeError('no')\n"
        "    def is_right(self, value, gold):\n        return False\n"
        "@hookimpl\ndef kdprobe_extractors():\n"
        "    yield ExtractorSpec(name='broken', summary='Fails', build=lambda _: Broken())\n"
    )
    result = kdprobe.compare(*files, plugins_dir=tmp_path, progress=False)
    (warning,) = result.warnings
    assert warning.startswith("Skipped: The extractor 'broken' failed on an answer: RuntimeError: no")
    assert capfd.readouterr() == ("", "")
    assert "Skipped" in result._repr_html_()
    kdprobe.compare(*files, plugins_dir=tmp_path)
    assert "Skipped" in capfd.readouterr().err


def test_warnings_are_in_the_json_of_every_result_and_command(files, tmp_path, run_cli):
    (tmp_path / "loud.py").write_text(
        "import warnings\n"
        "from kdprobe import ExtractorSpec, hookimpl\n"
        "warnings.simplefilter('ignore')\n"
        "@hookimpl\ndef kdprobe_extractors():\n"
        "    yield ExtractorSpec(name='loud', summary='It', build=lambda _: None)\n"
    )
    weights = np.tril(np.ones((1, 1, 3, 3), np.float32))
    np.savez(tmp_path / "p.npz", attention=weights / weights.sum(axis=-1, keepdims=True))
    for result, arguments in (
        (kdprobe.score(*files, plugins_dir=tmp_path), ("score", *files)),
        (kdprobe.compare(*files, plugins_dir=tmp_path), ("compare", *files)),
        (
            kdprobe.probe(patterns={"p": tmp_path / "p.npz"}, plugins_dir=tmp_path),
            ("probe", "--patterns", tmp_path / "p.npz"),
        ),
    ):
        told = run_cli(*arguments, "--plugins-dir", tmp_path, "--json")
        assert result.to_json() + "\n" == told
        data = json.loads(told)
        for row in data if isinstance(data, list) else [data]:
            assert row["warnings"] == list(result.warnings)
            assert "changed the warning filters; the change was undone." in row["warnings"][0]


def test_errors_of_libraries_and_exits_are_sentences(files, monkeypatch):
    from kdprobe.comparison import scoring

    for error in (RuntimeError("odd"), SystemExit(3)):

        def fail(*_arguments, error=error):
            raise error

        monkeypatch.setattr(scoring, "scores", fail)
        with pytest.raises(
            KdprobeError, match=r"kdprobe or one of its libraries failed: .*report the traceback"
        ) as caught:
            kdprobe.score(files[0])
        assert caught.value.__cause__ is error
