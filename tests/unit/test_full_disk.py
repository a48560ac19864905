"""A full disk is reported as such, whichever library runs into it."""

import sqlite3
from pathlib import Path

import pytest

from kdprobe.cli.faults import sentence

pytestmark = pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="needs /dev/full")


def torch_writes(_folder):
    import torch

    torch.save({"a": torch.ones(10_000)}, "/dev/full")


def sqlite_writes(folder):
    with sqlite3.connect(folder / "a.db") as database:
        database.execute("create table a (b)")
        database.execute("pragma max_page_count = 3")
        database.execute("insert into a values (zeroblob(100000))")


def python_writes(_folder):
    with open("/dev/full", "w", encoding="utf-8") as stream:  # noqa: PTH123
        stream.write("x")


@pytest.mark.parametrize("write", [torch_writes, sqlite_writes, python_writes])
def test_a_full_disk_is_told_in_a_sentence(write, tmp_path):
    with pytest.raises((RuntimeError, sqlite3.OperationalError, OSError)) as caught:
        write(tmp_path)
    said = sentence(caught.value, [], keeps=True)
    assert said.endswith("Finished work is saved. Free some disk space.")
