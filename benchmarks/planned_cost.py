"""What `kdprobe plan` predicts of a small experiment, and what its stages then take: time and peak memory.

    python benchmarks/planned_cost.py [--transfer 24] [--test 16] [--tokens 64] [--store FOLDER] [--json FILE]

Each stage runs in a process of its own, so that its peak is not that of another. Three durations are printed: what the
plan predicts, what the manifest of the stage says, and the CPU time of the process, without what a process of kdprobe
takes that runs nothing. On a machine that others use, CPU time per thread is the better measure of the two. Memory is
the largest resident size (Linux).

The store is a new folder, so that predictions rest on shapes alone; with `--store` of another run, they rest on the
rates measured there. Exits with 1 if the total time is off by more than a factor of 1.5, or the peak memory of a kind
of stage by more than 1.25.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from result_file import write_result

CONFIG = """
name = "planned-cost"
strategies = ["none", "ground-truth"]
[problems]
source = "gsm-symbolic"
options = {{ templates = [6, 26, 31, 43], seed = 0 }}
transfer = {transfer}
test = {test}
[student]
model = "{model}"
[teacher.options]
model = "{model}"
batch_size = {batch}
[transfer]
max_new_tokens = {tokens}
[distill]
options = {{ epochs = 1 }}
[controls]
fine_tune_options = {{ epochs = 1 }}
[evaluation]
max_new_tokens = {tokens}
batch_size = {batch}
[probe]
problems = {probed}
analyses = [{{ name = "heads", options = {{ control = 0 }} }}]
[resources]
threads = {threads}
"""
TIME, MEMORY = 1.5, 1.25
"""The largest factors between prediction and measurement that pass."""


@dataclass(frozen=True)
class Row:
    """A stage: seconds and MiB."""

    kind: str
    name: str
    basis: str
    predicted_seconds: float
    seconds: float
    cpu_seconds: float
    predicted_mib: float
    peak_mib: float


def main() -> None:
    """Prints the table, writes it as JSON if requested, and fails if a prediction is too far off."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--transfer", type=int, default=24)
    parser.add_argument("--test", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--probed", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--store", type=Path)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "planned-cost.toml"
        config.write_text(CONFIG.format(**vars(given)), encoding="utf-8")
        rows = _rows(config, given.store or Path(folder) / "store", given.threads)
    print("| stage | from | predicted s | s | CPU s / threads | predicted MiB | MiB |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for row in rows:
        print(
            f"| {row.kind} {row.name} | {row.basis} | {row.predicted_seconds:.0f} | {row.seconds:.0f} | "
            f"{row.cpu_seconds:.0f} | {row.predicted_mib:.0f} | {row.peak_mib:.0f} |"
        )
    predicted, measured = sum(row.predicted_seconds for row in rows), sum(row.cpu_seconds for row in rows)
    factors = {"time": predicted / measured}
    for kind in dict.fromkeys(row.kind for row in rows):
        same = [row for row in rows if row.kind == kind]
        factors[f"memory of {kind}"] = max(row.predicted_mib for row in same) / max(row.peak_mib for row in same)
    print("\npredicted / measured: " + ", ".join(f"{name} {factor:.2f}" for name, factor in factors.items()))
    if given.json:
        settings = {name: value for name, value in vars(given).items() if name not in {"json", "store"}}
        write_result(given.json, {**settings, "stages": [asdict(row) for row in rows], "factors": factors})
    off = [name for name, factor in factors.items() if not 1 / _limit(name) <= factor <= _limit(name)]
    if off:
        sys.exit(f"Too far off: {', '.join(off)}.")


def _limit(name: str) -> float:
    return TIME if name == "time" else MEMORY


def _rows(config: Path, store: Path, threads: int) -> list[Row]:
    plan = json.loads(_kdprobe("plan", config, store, "--json")[0])
    # The same work as before and after a stage: its settings are read, its plan is made, and libraries are imported.
    rows, idle = [], None
    for stage in plan["stages"]:
        only = ("--only", f"{stage['kind']} {stage['name']}")
        _, cpu, peak = _kdprobe("run", config, store, *only)
        if idle is None:
            _, idle, _ = _kdprobe("run", config, store, *only)
        manifest = json.loads((store / "stages" / stage["kind"] / stage["key"] / "stage.json").read_text())
        cost: dict[str, Any] = stage["cost"]
        rows.append(
            Row(
                stage["kind"], stage["name"], cost["basis"], cost["seconds"], manifest["seconds"],
                (cpu - idle) / threads, cost["memory"] / 2**20, peak,
            )
        )  # fmt: skip
    return rows


def _kdprobe(verb: str, config: Path, store: Path, *more: str) -> tuple[str, float, float]:
    """What a command prints, its CPU seconds, and its peak memory in MiB."""
    command = [sys.executable, "-m", "kdprobe", verb, str(config), "--store", str(store), *more]
    with tempfile.TemporaryFile() as printed, subprocess.Popen(command, stdout=printed) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        printed.seek(0)
        text = printed.read().decode()
    if process.returncode:
        sys.exit(f"{' '.join(command)} ended with {process.returncode}.")
    return text, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 2**10


if __name__ == "__main__":
    main()
