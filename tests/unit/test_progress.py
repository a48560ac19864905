"""Progress on stderr: nothing for quick work, plain lines in a notebook, a bar on a terminal, silence on request."""

import io
import json
import types

import pytest

import kdprobe
from kdprobe import console
from kdprobe.console import bars, messages

ROWS = [{"id": str(number), "question": f"q{number}", "response": "so 7", "gold": "7"} for number in range(1_200)]


class Clock:
    def __init__(self):
        self.now = 100.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(bars, "time", types.SimpleNamespace(monotonic=clock.monotonic))
    return clock


def test_the_first_line_comes_after_two_seconds_and_then_one_every_ten(clock, capsys):
    told = []
    with console.progress("asking", 20) as bar:
        for _ in range(20):
            clock.now += 1.0
            bar.advance()
            told.append(capsys.readouterr().err)
    lines = {second: line for second, line in enumerate(told, start=1) if line}
    assert list(lines) == [2, 12]
    assert lines[2] == "asking: 2/20, 0:18 left\n"


def test_a_batch_progresses_by_its_tokens(clock):
    with console.progress("asking", 8, unit="tok") as bar:
        assert bars.current() is bar
        bar.begin(4, longest=100)
        clock.now += 10
        bar.within(100)
        # Nothing has finished yet, so that each unit is taken to be as long as it may be.
        assert (bar.completed, bar.state()) == (1.0, "0/8, 10 tok/s, up to 1:10 left")
        clock.now += 10
        bar.advance(4, work=200)
        assert (bar.completed, bar.state()) == (4.0, "4/8, 10 tok/s, 0:20 left")
        bar.begin(4, longest=100)
        clock.now += 10
        bar.within(100)
        # As long as the finished ones were: 50 tokens each.
        assert (bar.completed, bar.state()) == (6.0, "4/8, 10 tok/s, 0:10 left")
        bar.within(10_000)
        assert bar.completed == 8.0
        bar.advance(4, work=10_100)
        assert bar.work == 10_300
    assert bars.current() is None


def test_what_was_skipped_says_nothing_about_a_batch(clock):
    bar = console.Progress("asking", 8, "tok")
    bar.skip(4)
    bar.begin(4, longest=100)
    clock.now += 10
    bar.within(200)
    assert (bar.completed, bar.state()) == (6.0, "4/8, 20 tok/s, up to 0:10 left")


def test_more_than_the_total_is_told_without_it(clock):
    with console.progress("h", 1) as bar:
        bar.advance()
        assert bar.state() == "1/1"
        bar.advance()
        assert bar.state() == "2"


def test_many_items_are_counted_in_large_steps(clock):
    with console.progress("reading", 2_500) as bar:
        seen = [(item, bar.done) for item in bar.over(range(2_500))]
    assert [item for item, _ in seen] == list(range(2_500))
    assert {done for _, done in seen} == {0, 1_000, 2_000}
    assert bar.done == 2_500


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    """Replaces stderr with a terminal when called, because pytest replaces stderr after the fixtures."""
    monkeypatch.setenv("TERM", "xterm")

    def here():
        stream = Terminal()
        monkeypatch.setattr("sys.stderr", stream)
        return stream

    return here


@pytest.mark.parametrize(("seconds", "shown"), [(0.5, False), (1.5, True)])
def test_a_bar_of_brief_work_appears_after_a_second(clock, terminal, seconds, shown):
    stream = terminal()
    with console.progress("judging", 2, brief=True) as bar:
        clock.now += seconds
        bar.advance()
    assert ("judging" in stream.getvalue()) == shown
    assert (stream.getvalue() != "") == shown


def test_other_bars_appear_at_once_and_none_where_progress_is_off(clock, terminal):
    stream = terminal()
    with messages.listening(shown=False), console.progress("silent", 2) as bar:
        bar.advance()
    assert stream.getvalue() == ""
    with console.progress("training", 2):
        pass
    assert "training" in stream.getvalue()


def test_words_are_not_cut_at_80_columns(clock, terminal, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    stream = terminal()
    with console.progress("lm-eval: ground-truth@2", 1319, unit="tok") as bar:
        clock.now += 10
        bar.advance(40, work=12_000, remark="31.2% correct")
    assert "lm-eval: ground-truth@2" in stream.getvalue()
    assert "40/1319, 1,200 tok/s, 31.2% correct, 5:20 left" in stream.getvalue()


@pytest.mark.parametrize(
    "call", [kdprobe.score, lambda *arms, **given: kdprobe.compare(dict(zip("ab", arms, strict=True)), **given)]
)
def test_scores_and_comparisons_of_long_files_tell_their_progress(call, monkeypatch, capsys):
    monkeypatch.setattr(bars, "FIRST_LINE_SECONDS", 3600.0)
    call(ROWS, ROWS)
    assert capsys.readouterr().err == ""
    # As if reading and judging each thousand rows took seconds.
    monkeypatch.setattr(bars, "FIRST_LINE_SECONDS", 0.0)
    call(ROWS, ROWS, progress=False)
    assert capsys.readouterr().err == ""
    call(ROWS, ROWS)
    told = capsys.readouterr().err
    for words in (
        "Reading table: 1000",
        "Judging table: 1000/1200",
        "Steps of table: 1000/1200",
        "Texts of table: 1000",
    ):
        assert words in told or words.replace("table", "a") in told


def test_notes_wrap_between_words_on_a_terminal_only(terminal, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "40")
    path = "/a/rather/long/path/that-is/copied/whole.parquet"
    sentence = f"Two students are compared; their answers are in {path}.\nA second line."
    console.note(sentence)
    assert capsys.readouterr().err == f"{sentence}\n"
    stream = terminal()
    console.note(sentence)
    lines = stream.getvalue().splitlines()
    assert lines == ["Two students are compared; their answers", "are in", f"{path}.", "A second line."]


def test_quiet_leaves_warnings_and_nothing_else(clock, capsys):
    with messages.quietly(), messages.listening(shown=True) as warnings:
        with console.progress("asking", 2) as bar:
            clock.now += 60
            bar.advance()
        console.note("a note")
        messages.warn("a warning")
    assert capsys.readouterr().err == "a warning\n"
    assert warnings == ["a warning"]
    console.note("a note")
    assert capsys.readouterr().err == "a note\n"


@pytest.mark.parametrize("quiet", [(), ("-q",), ("--quiet",)])
def test_quiet_commands_print_results_and_no_notes(quiet, run_cli, tmp_path, capsys, monkeypatch):
    answers = tmp_path / "answers.json"
    answers.write_text(json.dumps(ROWS))
    monkeypatch.setattr(bars, "FIRST_LINE_SECONDS", 0.0)
    run_cli("init", tmp_path / "mine.toml", *quiet)
    assert "100.0%" in run_cli("score", answers, *quiet)
    told = capsys.readouterr().err
    assert ("Wrote" in told) == ("Judging" in told) == (not quiet)
    # The next command is as talkative as ever.
    run_cli("init", tmp_path / "other.toml")
    assert "Wrote" in capsys.readouterr().err
