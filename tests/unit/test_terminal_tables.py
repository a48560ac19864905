"""Output on a terminal of 80 columns: no broken words, and no help line that is too long."""

import io
import re

import click
import pytest

from kdprobe.cli import COMMANDS, app
from kdprobe.cli.show.tables import column_widths, new_table, print_table
from kdprobe.console.streams import plain

ARMS = ["first-run-4f2a9c1e/ground-truth", "second-run-90b1d77a/ground-truth@2"]


def words(text):
    return re.findall(r"\S+", text)


@pytest.fixture
def printed(monkeypatch, capsys):
    def show(columns, headers, rows):
        monkeypatch.setenv("COLUMNS", str(columns))
        table = new_table("Arms", *headers)
        for row in rows:
            table.add_row(*map(plain, row))
        print_table(table)
        return capsys.readouterr().out

    return show


HEADERS = ["arm", "correct", "95% CI", "log p(gold)", "what it was taught"]
ROWS = [[arm, "12/80", "+3.1 to +9.9", "-13.15", "answers of a primed teacher, with its probabilities"] for arm in ARMS]


@pytest.mark.parametrize("columns", [40, 60, 80, 90, 100, 200])
def test_no_width_breaks_a_word_or_a_line(printed, columns):
    shown = printed(columns, HEADERS, ROWS)
    assert {word for row in ROWS for cell in row for word in words(cell)} <= {*words(shown)}
    assert max(map(len, shown.splitlines())) <= columns


def test_rows_become_blocks_where_columns_do_not_fit(printed):
    blocks = printed(60, HEADERS, ROWS).splitlines()
    first = blocks.index(ARMS[0])
    assert [line.split(maxsplit=1)[0] for line in blocks[first + 1 : first + 3]] == ["correct", "95%"]
    assert blocks[first + 1].split() == ["correct", "12/80"]
    table = printed(120, HEADERS, ROWS).splitlines()
    assert any(line.startswith(ARMS[0]) and "12/80" in line for line in table)


@pytest.mark.parametrize(
    ("available", "widths"),
    [(100, [10, 11]), (23, [10, 11]), (20, [10, 8]), (13, [5, 6]), (12, None)],
)
def test_columns_shrink_to_their_longest_word_and_no_further(available, widths):
    assert column_widths([["a", "three cats"], ["b", "four horses"]], available) == widths


def test_headers_wrap_before_cells():
    assert column_widths([["much longer header", "one two"], ["b", "12 to 16"]], 19) == [9, 8]


def commands():
    context = click.Context(app)
    for name in COMMANDS:
        command = app.get_command(context, name)
        yield name, command
        yield from ((f"{name} {inner}", each) for inner, each in getattr(command, "commands", {}).items())


@pytest.mark.parametrize("name", ["", *(name for name, _ in commands()), "plugins new"])
def test_help_fits_80_columns_and_is_not_cut_short(name, capsys):
    with pytest.raises(SystemExit):
        app.main([*name.split(), "--help"], prog_name="kdprobe", terminal_width=80)
    shown = capsys.readouterr().out
    assert shown.startswith("Usage: kdprobe")
    assert [line for line in shown.splitlines() if len(line) > 80] == []
    assert "..." not in shown.replace("]...", "").replace("ARGS...", "").replace("ARM...", "").replace("FILES...", "")


def test_a_reader_that_goes_away_is_no_failure(monkeypatch):
    class Closed(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    monkeypatch.setattr("sys.stdout", Closed())
    with pytest.raises(BrokenPipeError):  # which `kdprobe` ends with exit code 0 for
        print_table(new_table("Arms", "arm"))
