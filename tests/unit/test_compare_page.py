"""Comparing with a baseline, and the page of a comparison."""

import json

import pytest

import kdprobe
from pages import data_of, text_of


def rows(right, count=40):
    return [{"id": str(n), "response": f"The answer is {7 if n < right else 8}.", "gold": "7"} for n in range(count)]


ARMS = {"a": rows(20), "b": rows(32), "c": rows(21)}


def test_with_a_baseline_all_others_are_compared_with_it_and_adjusted_for_that():
    pairs = kdprobe.compare(ARMS, baseline="a", progress=False).pairs
    assert pairs[["family", "a", "b"]].to_numpy().tolist() == [
        ["compared with a", "b", "a"],
        ["compared with a", "c", "a"],
    ]
    # Twelve problems that only b solves: p = 2 / 2^12, twice that after Holm's adjustment of two.
    assert pairs["p"][0] == pytest.approx(2 / 2**12)
    assert pairs["p_holm"][0] == pytest.approx(4 / 2**12)
    every = kdprobe.compare(ARMS, progress=False).pairs
    assert len(every) == 3


def test_the_verdict_speaks_of_the_baseline():
    result = kdprobe.compare({"a": rows(20), "c": rows(21), "d": rows(19)}, baseline="a", progress=False)
    assert result.verdict == ["No arm differs significantly from 'a' (2 pairs)."]


def test_a_baseline_must_be_an_arm():
    with pytest.raises(kdprobe.UsageError, match="There is no arm 'z' to compare with") as raised:
        kdprobe.compare(ARMS, baseline="z", progress=False)
    assert raised.value.hint == "Available arms: a, b, c."


def test_the_page_of_a_comparison_has_its_numbers_and_every_answer(tmp_path):
    file = tmp_path / "new" / "page.html"
    result = kdprobe.compare(ARMS, baseline="a", out=file, progress=False)
    made = file.read_text(encoding="utf-8")
    shown = data_of(made)
    assert [arm["name"] for arm in shown["arms"]] == ["a", "b", "c"]
    (baseline,) = shown["baselines"]
    assert baseline["label"] == "a"
    assert [row["difference"]["value"] for row in baseline["rows"]] == result.pairs["difference"].tolist()
    assert [answer["right"] for answer in shown["answers"]["arms"][0]] == [n < 20 for n in range(40)]
    assert "b: +30.0 points over a (95% CI " in text_of(made)
    assert shown["config"] == ""


def test_a_page_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(kdprobe.KdprobeError, match=r"Cannot write .*page\.html"):
        kdprobe.compare(ARMS, out=tmp_path / "file" / "page.html", progress=False)


def test_the_command_compares_with_a_baseline_and_writes_the_page(tmp_path, run_cli):
    files = []
    for name, answers in ARMS.items():
        files.append(tmp_path / f"{name}.jsonl")
        files[-1].write_text("".join(json.dumps(row) + "\n" for row in answers))
    said = json.loads(run_cli("compare", *files, "--baseline", "a", "--out", tmp_path / "c.html", "--json"))
    assert [pair["family"] for pair in said["pairs"]] == ["compared with a"] * 2
    assert data_of((tmp_path / "c.html").read_text())["pair"] == ["b", "a"]
