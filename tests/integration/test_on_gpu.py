"""The benchmark for GPUs works: on a CPU and a tiny shape."""

import json
import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def test_every_kind_of_part_has_a_row_and_a_prediction(tmp_path):
    file = tmp_path / "result.json"
    command = [sys.executable, BENCHMARKS / "on_gpu.py", "--device=cpu", "--shape=tiny", "--dtype=float32"]
    command += ["--repeats=1", "--parts", "chunked CE", "KD, checkpointed", "capture", f"--json={file}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    parts = json.loads(file.read_text())["parts"]
    assert [*parts] == ["chunked CE", "KD, checkpointed", "capture"]
    assert all(row["seconds"] > 0 and row["gib"] > 0 for row in parts.values())
    assert [row["predicted_seconds"] is None for row in parts.values()] == [True, False, False]


def test_chunked_cross_entropy_is_cross_entropy(torch, monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from on_gpu import CHUNK, chunked_cross_entropy

    rows = CHUNK + 3
    hidden, matrix = torch.randn(rows, 8, requires_grad=True), torch.randn(20, 8)
    targets = torch.randint(20, (rows,))
    expected = torch.nn.functional.cross_entropy(hidden @ matrix.T, targets)
    found = chunked_cross_entropy(hidden, matrix, targets)
    torch.testing.assert_close(found, expected)
    slopes = [torch.autograd.grad(each, hidden)[0] for each in (found, expected)]
    torch.testing.assert_close(*slopes)
