"""The same experiment stage by stage, with two jobs, and with Ray: seconds, memory, and that the numbers are equal.

    python benchmarks/executors.py [--rounds 3] [--ways plain jobs ray] [--json FILE]

The experiment has four arms (three strategies, and training on gold solutions) and the untrained model, with a random
model (8 layers, 384 wide) and one thread per stage. Every run has a new store, and the ways take turns. Memory is
the peak of the sum over all processes of what each holds alone or its share of (PSS). Exits with 1 if a way gives other
numbers than the first one.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

WAYS = {"plain": [], "jobs": ["--jobs", "2"], "ray": ["--executor", "ray", "--jobs", "2"]}
"""Ways to run the experiment, as arguments of `kdprobe run`."""
TIMED = {"stage.json", "training.json", "transfer.json", "fidelity.json"}
"""Files with times."""
PROBLEMS = 24
CONFIG = """
name = "executors"
strategies = ["none", "teacher", "ground-truth"]
[resources]
threads = 1
[problems]
source = "jsonl"
options = {{ transfer = "transfer.jsonl", test = "test.jsonl" }}
transfer = {problems}
test = {problems}
[student]
model = "model"
[teacher.options]
model = "model"
[transfer]
max_new_tokens = 64
top_logprobs = 16
[distill]
name = "logits"
options = {{ epochs = 3, batch_size = 8 }}
[controls]
fine_tune_options = {{ epochs = 3, batch_size = 8 }}
[evaluation]
max_new_tokens = 64
[probe]
problems = 8
analyses = ["geometry", "confidence"]
"""
SAMPLE_SECONDS = 0.2


def main() -> None:
    """Prints a row for each way, and fails if numbers differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ways", nargs="+", default=[*WAYS], choices=[*WAYS])
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    measured: dict[str, list[dict[str, float]]] = {way: [] for way in given.ways}
    different: set[str] = set()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        _write_experiment(folder)
        first: dict[str, bytes] = {}
        for index in range(given.rounds):
            for way, rows in measured.items():
                store = f"{way}-{index}"
                rows.append(_run(folder, store, WAYS[way]))
                found = _contents(folder / store)
                first = first or found
                different |= {f"{way}: {name}" for name in first | found if first.get(name) != found.get(name)}
    _show(measured, len(first))
    if given.json:
        given.json.write_text(json.dumps(measured, indent=2), encoding="utf-8")
    if different:
        sys.exit(f"Not equal: {', '.join(sorted(different))}")


def _write_experiment(folder: Path) -> None:
    from transformers import AutoTokenizer

    from kdprobe.testing import problem_rows, write_tiny_model
    from kdprobe.testing.models import random_llama

    write_tiny_model(folder / "model")
    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    random_llama(
        hidden_size=384,
        intermediate_size=1024,
        num_hidden_layers=8,
        num_attention_heads=6,
        num_key_value_heads=2,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        vocab_size=len(tokenizer),
        max_position_embeddings=1024,
    ).save_pretrained(folder / "model")
    for index, name in enumerate(("transfer", "test")):
        rows = "\n".join(map(json.dumps, problem_rows(index * PROBLEMS, PROBLEMS)))
        (folder / f"{name}.jsonl").write_text(rows, encoding="utf-8")
    (folder / "mine.toml").write_text(CONFIG.format(problems=PROBLEMS), encoding="utf-8")


def _run(folder: Path, store: str, arguments: list[str]) -> dict[str, float]:
    """Seconds and peak MiB of one run."""
    command = [sys.executable, "-m", "kdprobe", "run", "mine.toml", "--store", store, "--quiet", *arguments]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryFile("w+") as said:
        started = time.perf_counter()
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=said)
        peak = 0.0
        while process.poll() is None:
            peak = max(peak, _held(process.pid))
            time.sleep(SAMPLE_SECONDS)
        seconds = time.perf_counter() - started
        said.seek(0)
        if process.returncode:
            sys.exit(said.read())
    return {"seconds": seconds, "mib": peak / 2**20}


def _held(process: int) -> float:
    held = 0.0
    with contextlib.suppress(psutil.NoSuchProcess):
        parent = psutil.Process(process)
        for each in (parent, *parent.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                held += each.memory_full_info().pss
    return held


def _contents(store: Path) -> dict[str, bytes]:
    files = (file for file in (store / "stages").rglob("*") if file.is_file() and file.name not in TIMED)
    return {str(file.relative_to(store)): file.read_bytes() for file in files}


def _show(measured: dict[str, list[dict[str, float]]], files: int) -> None:
    base: Any = None
    for way, rows in measured.items():
        seconds = statistics.median(row["seconds"] for row in rows)
        mib = statistics.median(row["mib"] for row in rows)
        base = base or seconds
        called = " ".join(["kdprobe run", *WAYS[way]])
        print(f"{called:<36}{seconds:>8.1f} s{seconds / base:>7.2f}{mib:>8.0f} MiB")
    print(f"Compared {files} files of every run with the first one.")


if __name__ == "__main__":
    main()
