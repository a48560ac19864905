"""How long `kdprobe --help` and `kdprobe plugins` take, compared with importing the four libraries that they use.

    python benchmarks/startup.py [--rounds 20] [--json FILE]

The commands are run in turn, so that other load on the machine affects all of them alike. Results are medians. Exits
with 1 if `--help` takes more than twice as long as the imports, or `plugins` more than three times as long.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

IMPORTS = "import click, pluggy; from pydantic import BaseModel; from rich.table import Table"
COMMANDS = {
    "imports": ["-c", IMPORTS],
    "kdprobe --help": ["-m", "kdprobe", "--help"],
    "kdprobe plugins": ["-m", "kdprobe", "plugins"],
    "kdprobe plugins --json": ["-m", "kdprobe", "plugins", "--json"],
}
LIMITS = {"kdprobe --help": 2.0, "kdprobe plugins": 3.0, "kdprobe plugins --json": 3.0}
"""Times of the imports."""
# If Python could not write compiled files, every round would compile kdprobe again.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def main() -> None:
    """Prints the table, writes it as JSON if requested, and fails if a limit is exceeded."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for name in COMMANDS:
        _seconds(name)  # so that no round has to compile or to read from a cold disk
    for _ in range(given.rounds):
        for name in COMMANDS:
            seconds[name].append(_seconds(name))
    medians = {name: statistics.median(taken) for name, taken in seconds.items()}
    table = [
        {"command": name, "seconds": median, "ratio": median / medians["imports"], "limit": LIMITS.get(name)}
        for name, median in medians.items()
    ]
    print(f"{'':<24}{'ms':>8}{'ratio':>8}{'limit':>8}")
    for row in table:
        limit = "" if row["limit"] is None else f"{row['limit']:.0f}"
        print(f"{row['command']:<24}{row['seconds'] * 1e3:>8.0f}{row['ratio']:>8.2f}{limit:>8}")
    if given.json:
        given.json.write_text(json.dumps(table, indent=2), encoding="utf-8")
    if slow := [str(row["command"]) for row in table if row["limit"] is not None and row["ratio"] > row["limit"]]:
        sys.exit(f"Too slow: {', '.join(slow)}.")


def _seconds(name: str) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, *COMMANDS[name]], check=True, stdout=subprocess.DEVNULL, env=ENVIRONMENT)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
