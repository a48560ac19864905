import pytest

from kdprobe.evaluation.ledger import Ledger

FIRST = {"a": {"response": "7 \u2028 €\n", "tokens": 3}, "b": {"response": "", "tokens": None}}
SECOND = {"c": {"response": "8", "tokens": 1}}


@pytest.fixture
def file(tmp_path):
    file = tmp_path / "answers.jsonl"
    ledger = Ledger(file)
    ledger.add(FIRST)
    ledger.add(SECOND)
    return file


def test_what_was_added_is_there_again(file):
    ledger = Ledger(file)
    assert {name: ledger[name] for name in "abc"} == FIRST | SECOND
    assert "d" not in ledger


def test_of_a_line_that_was_cut_short_anywhere_nothing_is_left_and_the_next_is_whole(file):
    content = file.read_bytes()
    begin = content.index(b"\n") + 1
    for end in range(begin, len(content)):
        file.write_bytes(content[:end])
        ledger = Ledger(file)
        assert "a" in ledger
        assert "b" in ledger
        assert "c" not in ledger
        ledger.add({"d": 1})
        assert Ledger(file)["d"] == 1
    file.write_bytes(content[: begin - 1])
    assert "a" not in Ledger(file)


def test_a_line_with_any_bit_changed_is_reported_and_left_out(file, capsys):
    content = file.read_bytes()
    begin, end = content.index(b"\n") + 1, len(content) - 1
    for place in range(begin, end):
        for bit in (1, 4, 128):
            file.write_bytes(content[:place] + bytes([content[place] ^ bit]) + content[place + 1 :])
            ledger = Ledger(file)
            assert len(ledger) == 2
            assert {name: ledger[name] for name in "ab"} == FIRST
            assert "damaged" in capsys.readouterr().err
    file.write_bytes(b"A" + content[1:])
    ledger = Ledger(file)
    assert "a" not in ledger
    ledger.add(FIRST)
    assert len(Ledger(file)) == 3


def test_without_a_file_nothing_is_written():
    ledger = Ledger(None)
    ledger.add(SECOND)
    assert ledger["c"] == SECOND["c"]
