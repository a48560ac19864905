"""Files that unpack to too much, pipes and devices are rejected with a one-sentence error; limits can be raised."""

import bz2
import gzip
import lzma
import os
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kdprobe.comparison.answers import read_outputs
from kdprobe.errors import KdprobeError, UsageError
from kdprobe.limits import UNPACKED_GB, Limit
from kdprobe.probing.patterns.containers import arrays_of
from kdprobe.problems.sources.jsonl import read

ROW = b'{"response": "#### 1", "answer": "#### 1"}\n'


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setenv(UNPACKED_GB.variable, "0.001")


def zstd(content):
    return pa.compress(content, codec="zstd", asbytes=True)


@pytest.mark.parametrize(
    ("ending", "pack"), [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress), (".zst", zstd)]
)
def test_a_file_that_unpacks_to_too_much_is_refused(small, monkeypatch, tmp_path, ending, pack):
    file = tmp_path / f"a.jsonl{ending}"
    file.write_bytes(pack(ROW + b" " * 2_000_000))
    with pytest.raises(KdprobeError, match=r"unpacks to more than 0\.001 GB\. .*raise KDPROBE_UNPACKED_GB"):
        read_outputs(file)
    monkeypatch.setenv(UNPACKED_GB.variable, "1")
    assert read_outputs(file).responses == ["#### 1"]


def test_a_table_of_absurd_length_is_refused(small, tmp_path):
    file = tmp_path / "a.parquet"
    pq.write_table(pa.table({"response": ["#### 1"] * 20_000, "answer": ["#### 1"] * 20_000}), file)
    with pytest.raises(
        KdprobeError, match=r"has 20000 rows, more than the limit of 0.001 GB allows (.10,000,000 rows per GB.)"
    ):
        read_outputs(file)


def test_patterns_that_unpack_to_too_much_are_refused(small, tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("attention.npy", bytes(2_000_000))
    with pytest.raises(UsageError, match=r"unpacks to more than 0\.001 GB"):
        arrays_of(tmp_path / "a.npz")


def test_an_array_whose_header_is_absurd_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((2, 2)))
    content = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "a.npy").write_bytes(content.replace(b"(2, 2), ", b"(9**9**9,)"))
    with pytest.raises(UsageError, match="damaged"):
        arrays_of(tmp_path / "a.npy")
    (tmp_path / "a.npy").write_bytes(content.replace(b"(2, 2), }   ", b"(99999999999,)}"[:12].ljust(12)))
    with pytest.raises(UsageError, match="damaged"):
        arrays_of(tmp_path / "a.npy")


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.parquet", "a.npy", "a.npz", "a.safetensors"])
def test_a_named_pipe_is_never_opened(tmp_path, name):
    os.mkfifo(tmp_path / name)
    reader = read_outputs if name.endswith((".jsonl", ".csv", ".parquet")) else arrays_of
    with pytest.raises(KdprobeError, match="named pipe"):
        reader(tmp_path / name)
    with pytest.raises(KdprobeError, match="named pipe"):
        list(read(tmp_path / name))


@pytest.mark.parametrize(
    "line",
    [b"[" * 100_000, b'{"question": "\xff", "answer": "1"}', b'{"question": ' + b"9" * 9_000 + b"}", b"[1]", b"{"],
)
def test_a_line_that_is_no_problem_is_named(tmp_path, line):
    (tmp_path / "a.jsonl").write_bytes(b'{"question": "1?", "answer": "#### 1"}\n' + line)
    with pytest.raises(KdprobeError, match=r"a\.jsonl, line 2 is not"):
        list(read(tmp_path / "a.jsonl"))


@pytest.mark.parametrize("text", ["x", "0", "-1", "nan"])
def test_a_limit_is_a_number_above_zero(monkeypatch, text):
    monkeypatch.setenv("KDPROBE_X", text)
    with pytest.raises(UsageError, match="must be a positive number"):
        _ = Limit("KDPROBE_X", 1).value


def test_a_rendering_is_stopped_and_nothing_after_it(monkeypatch):
    """The exception that stops it never reaches later code in the thread."""
    from kdprobe.limits import TEMPLATE_SECONDS
    from kdprobe.models.templates.bounded import bounded

    monkeypatch.setenv(TEMPLATE_SECONDS.variable, "0.05")

    def render():
        with bounded("m"):
            while True:
                pass

    with pytest.raises(KdprobeError, match=r"takes longer than 0\.05 seconds\. .*KDPROBE_TEMPLATE_SECONDS"):
        render()
    for _ in range(50):
        with bounded("m"):
            sum(range(1000))


def test_a_rendering_that_takes_too_much_memory_is_refused(monkeypatch):
    from kdprobe.limits import TEMPLATE_GB
    from kdprobe.models.templates.bounded import bounded

    monkeypatch.setenv(TEMPLATE_GB.variable, "0.1")
    with pytest.raises(KdprobeError, match=r"takes more than 0\.1 GB of memory"), bounded("m"):
        bytearray(2**30)
    assert len(bytearray(2**28)) == 2**28
