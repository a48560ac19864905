"""What plans remember may be old or missing, but never wrong."""

import json

import pytest

from kdprobe.models.outline import memory as module
from kdprobe.models.outline.memory import Memory


@pytest.fixture
def recall(tmp_path):
    """Requests a value; returns it, and whether it was computed."""

    def ask(value, inputs=None, what="sum", folder=tmp_path / "store" / "remembered"):
        computed = []
        found = Memory(folder).recall(what, inputs or {"a": 1, "b": [2]}, lambda: computed.append(1) or value)
        return found, bool(computed)

    return ask


def test_what_was_computed_is_recalled(recall):
    assert recall({"x": [1, None, "ü"]}) == ({"x": [1, None, "ü"]}, True)
    assert recall("other") == ({"x": [1, None, "ü"]}, False)
    assert recall(None, {"nothing": 0}) == (None, True)
    assert recall("other", {"nothing": 0}) == (None, False)


@pytest.mark.parametrize("inputs", [{"a": 1}, {"a": 1, "b": [3]}, {"a": "1", "b": [2]}, {"b": [2], "a": 1, "c": None}])
def test_other_inputs_are_another_value(recall, inputs):
    recall("first")
    assert recall("second", inputs) == ("second", True)


def test_another_question_another_format_and_other_versions_are_another_value(recall, monkeypatch):
    recall("first")
    assert recall("second", what="product") == ("second", True)
    with monkeypatch.context() as changed:
        changed.setattr(module, "FORMAT", module.FORMAT + 1)
        assert recall("third") == ("third", True)
    for library in module.versions():
        with monkeypatch.context() as changed:
            other = {**module.versions(), library: "0"}
            changed.setattr(module, "versions", lambda known=other: known)
            assert recall(library) == (library, True)
    assert recall("last") == ("first", False)


def test_the_versions_are_those_of_what_renders_and_tokenises():
    import jinja2
    import tokenizers
    import transformers

    versions = module.versions()
    assert versions["transformers"] == transformers.__version__
    assert versions["tokenizers"] == tokenizers.__version__
    assert versions["jinja2"] == jinja2.__version__


def damages(data):
    yield b""
    yield data[: len(data) // 2]
    yield b"[]"
    yield b"null"
    yield b"\xff\xfe" + data
    yield data.replace(b"first", b"furst")
    yield data.replace(b'"result"', b'"resalt"')
    yield data.replace(b'"checksum"', b'"chacksum"')
    yield json.dumps({"key": json.loads(data)["key"], "result": "first"}).encode()


def test_a_damaged_entry_is_ignored_and_written_again(recall, tmp_path):
    recall("first")
    (file,) = (tmp_path / "store" / "remembered").iterdir()
    data = file.read_bytes()
    for number, damaged in enumerate(damages(data)):
        file.write_bytes(damaged)
        assert recall(number) == (number, True), damaged
        assert recall("other") == (number, False), damaged


def test_an_entry_under_another_entrys_name_is_ignored(recall, tmp_path):
    recall("first")
    (file,) = (tmp_path / "store" / "remembered").iterdir()
    recall("second", {"a": 2})
    (other,) = set((tmp_path / "store" / "remembered").iterdir()) - {file}
    file.write_bytes(other.read_bytes())
    assert recall("third") == ("third", True)


def test_a_folder_in_the_place_of_an_entry_or_of_the_memory_is_in_nobodys_way(recall, tmp_path):
    recall("first")
    (file,) = (tmp_path / "store" / "remembered").iterdir()
    file.unlink()
    file.mkdir()
    assert recall("second") == ("second", True)
    (tmp_path / "taken").write_text("")
    assert recall("third", folder=tmp_path / "taken") == ("third", True)
    assert recall("fourth", folder=None) == ("fourth", True)


def test_what_raises_is_not_remembered(tmp_path):
    memory = Memory(tmp_path)
    with pytest.raises(ZeroDivisionError):
        memory.recall("ratio", {}, lambda: 1 // 0)
    assert memory.recall("ratio", {}, lambda: 2) == 2
