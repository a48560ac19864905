"""Archives that are not logs of inspect_ai, logs in unknown formats, and damaged logs give a one-sentence error."""

import zipfile

import pytest

from kdprobe.comparison.answers import read_outputs
from kdprobe.errors import KdprobeError
from tool_logs import LOGS, changed, members, rezipped


@pytest.mark.parametrize(
    ("contents", "words"),
    [
        ({"a.txt": "7"}, "it is a zip archive or a spreadsheet; first unpack it"),
        ({}, "it is a zip archive or a spreadsheet; first unpack it"),
        ({"header.json": "{"}, "cannot be read"),
        ({"header.json": {"eval": 7}}, "its header lacks a task or a model"),
        (
            {"header.json": {"version": 9, "eval": {"task": "a", "model": "b"}}},
            "in format version 9; kdprobe reads version 2",
        ),
        ({"header.json": {"version": 2, "eval": {"task": "a", "model": "b"}}}, "an inspect_ai log without an answer"),
        (
            {"header.json": {"eval": {"task": "a", "model": "b"}}, "samples/1_epoch_1.json": [7]},
            "a sample lacks its id, epoch, input or output",
        ),
        (
            {"header.json": {"eval": {"task": "a", "model": "b"}}, "samples/1_epoch_1/sample.json": {}},
            "stores samples in pieces",
        ),
    ],
)
def test_other_archives_and_unknown_forms_are_refused_in_a_sentence(contents, words, tmp_path):
    with pytest.raises(KdprobeError, match=words):
        read_outputs(rezipped(tmp_path / "a.eval", contents))


def test_nothing_but_errors_is_refused():
    with pytest.raises(
        KdprobeError, match=r"without an answer; .* 0 of 4 samples are read \(2 ended in an error, 2 missing\)"
    ):
        read_outputs(LOGS / "nothing.eval")


def test_a_repeated_sample_is_refused(tmp_path):
    file = changed(tmp_path / "a.json", "sums.json", samples=lambda s: s | {"id": 1})
    with pytest.raises(KdprobeError, match="two samples that have the id 1 in epoch 1"):
        read_outputs(file)


def test_what_is_neither_zip_nor_json_is_refused(tmp_path):
    (tmp_path / "a.eval").write_text("id,response\n")
    with pytest.raises(KdprobeError, match="line 1 is not valid JSON"):
        read_outputs(tmp_path / "a.eval")


def test_damage_and_bombs_are_refused(tmp_path, monkeypatch):
    whole = (LOGS / "sums.eval").read_bytes()
    file = tmp_path / "a.eval"
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(KdprobeError, match="a damaged or incomplete one"):
        read_outputs(file)
    start = whole.index(b"(\xb5/\xfd", whole.index(b"samples/1_epoch_1.json"))
    file.write_bytes(whole[: start + 20] + b"\0" * 8 + whole[start + 28 :])
    with pytest.raises(KdprobeError, match=r"its member 'samples/1_epoch_1\.json' cannot be unpacked"):
        read_outputs(file)
    bomb = rezipped(tmp_path / "b.eval", members("sums.eval") | {"samples/9_epoch_1.json": b" " * 2**22})
    monkeypatch.setenv("KDPROBE_UNPACKED_GB", "0.001")
    with pytest.raises(KdprobeError, match=r"unpacks to more than 0.001 GB.*KDPROBE_UNPACKED_GB"):
        read_outputs(bomb)


def test_a_member_that_declares_too_small_a_size_stops_there(tmp_path):
    whole = (LOGS / "sums.eval").read_bytes()
    with zipfile.ZipFile(LOGS / "sums.eval") as archive:
        size = archive.getinfo("samples/1_epoch_1.json").file_size
    entry = whole.rindex(b"samples/1_epoch_1.json") - 46
    assert int.from_bytes(whole[entry + 24 : entry + 28], "little") == size
    file = tmp_path / "a.eval"
    file.write_bytes(whole[: entry + 24] + (9).to_bytes(4, "little") + whole[entry + 28 :])
    with pytest.raises(KdprobeError, match="its checksum does not match"):
        read_outputs(file)


def test_names_of_members_are_never_paths(tmp_path):
    contents = members("sums.eval")
    contents["samples/../../../outside_epoch_1.json"] = contents.pop("samples/1_epoch_1.json")
    (tmp_path / "in").mkdir()
    assert sorted(read_outputs(rezipped(tmp_path / "in" / "a.eval", contents)).ids) == ["1", "2", "3", "4"]
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.eval", "in"]
