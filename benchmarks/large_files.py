"""How much time and memory `kdprobe score` and `kdprobe compare` need for large files of short answers.

    python benchmarks/large_files.py [--score-rows 1000000] [--compare-rows 200000] [--folder FOLDER]

Each command runs in its own process, on files written into a temporary folder. Peak memory is the process's largest
resident size (Linux). Exits with 1 if it reaches 2 GiB.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LIMIT = 2_048
"""MiB."""


def main() -> None:
    """Writes the files, runs the commands, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--score-rows", type=int, default=1_000_000)
    parser.add_argument("--compare-rows", type=int, default=200_000)
    parser.add_argument("--folder", type=Path, help="The folder in which to create the temporary folder.")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        names = {kind: Path(folder) / f"score.{kind}" for kind in ("csv", "jsonl", "json")}
        rows = [
            _measured(f"score, .{kind}", given.score_rows, ["score", file])
            for kind, file in names.items()
            if _write(file, given.score_rows, seed=0)
        ]
        pair = [Path(folder) / f"{name}.jsonl" for name in "ab"]
        for seed, file in enumerate(pair):
            _write(file, given.compare_rows, seed)
        rows.append(_measured("compare, two .jsonl", given.compare_rows, ["compare", *pair]))
    print("| command | rows | s | peak MiB |\n| --- | --- | --- | --- |")
    for name, count, seconds, peak in rows:
        print(f"| {name} | {count:,} | {seconds:.0f} | {peak:.0f} |")
    if any(peak >= LIMIT for *_, peak in rows):
        sys.exit(f"A peak is above {LIMIT} MiB.")


def _write(file: Path, count: int, seed: int) -> bool:
    """A file of short answers, about half of them right."""
    draw = random.Random(seed)  # noqa: S311 - nothing here is secret
    rows = (_row(number, draw) for number in range(count))
    with file.open("w", encoding="utf-8", newline="") as stream:
        if file.suffix == ".csv":
            writer = csv.DictWriter(stream, ["id", "question", "gold", "response", "tokens"])
            writer.writeheader()
            writer.writerows(rows)
        else:
            separator = ",\n" if file.suffix == ".json" else "\n"
            stream.write("[" if file.suffix == ".json" else "")
            for number, row in enumerate(rows):
                stream.write((separator if number else "") + json.dumps(row))
            stream.write("]" if file.suffix == ".json" else "\n")
    return True


def _row(number: int, draw: random.Random) -> dict[str, object]:
    a, b = number % 97 + 2, number % 89 + 3
    said = a + b + (draw.random() < 0.5)
    return {
        "id": f"problem-{number}",
        "question": f"Box {number} holds {a} red and {b} blue marbles. How many marbles are in it?",
        "gold": str(a + b),
        "response": f"There are {a} red and {b} blue ones, so {a} + {b} = {said}. The answer is {said}.",
        "tokens": 20 + number % 20,
    }


def _measured(name: str, count: int, arguments: list[str | Path]) -> tuple[str, int, float, float]:
    started = time.perf_counter()
    command = [sys.executable, "-m", "kdprobe", *map(str, arguments), "--json"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{name} ended with {process.returncode}.")
    return name, count, time.perf_counter() - started, usage.ru_maxrss / 2**10


if __name__ == "__main__":
    main()
