"""What the integrity of files costs, in an experiment and in `kdprobe report`.

    python benchmarks/integrity.py [CONFIG] [--report-of STORE] [--rounds 15] [--json FILE]

Runs an experiment, by default the embedded one, and times every operation within it that syncs, hashes, seals, checks
or locks files, or compares the process's state before and after plugins are loaded; of nested operations, only the
outermost counts. The share is relative to the rest of the run. Then `kdprobe report` is run with and without all of
these, in turn; with --report-of, this is the report of a store's newest run, and no experiment is run. Exits with 1 if
they take more than 1% of the rest, or if the report takes more than 1.2 times as long as without them.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

MOST_OF_A_RUN, MOST_OF_A_REPORT = 0.01, 1.2


def main() -> None:
    """Prints both tables, and fails if a limit is exceeded."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, nargs="?")
    parser.add_argument("--report-of", type=Path)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        store = given.report_of or Path(folder, "store")
        if not given.report_of:
            config = [str(given.config)] if given.config else []
            found["run"] = _child("timed", folder, "run", *config, "--store", str(store))
            _show_run(found["run"])
        found["report"] = _compare_reports(folder, store, given.rounds)
    if given.json:
        given.json.write_text(json.dumps(found, indent=2), encoding="utf-8")
    if found.get("run", {}).get("share", 0) > MOST_OF_A_RUN or found["report"]["ratio"] > MOST_OF_A_REPORT:
        sys.exit("Too much.")


def _show_run(run: dict[str, Any]) -> None:
    run["share"] = run["own"] / (run["seconds"] - run["own"])
    print(f"The run: {run['seconds']:.1f} s, {run['mb']:.0f} MB. Of it {run['own']:.3f} s, {run['share']:.2%}:")
    for name, (count, taken) in sorted(run["operations"].items(), key=lambda item: -item[1][1]):
        print(f"  {name:<28}{count:>8} times{taken:>9.3f} s")


def _compare_reports(folder: str, store: Path, rounds: int) -> dict[str, Any]:
    measured: dict[str, list[dict[str, Any]]] = {"as it is": [], "without": []}
    for _ in range(rounds + 1):
        for variant, rows in measured.items():
            rows.append(_child(variant, folder, "report", "--store", str(store)))
    # The first run of each compiles, and reads from a cold disk.
    seconds = {variant: statistics.median(row["seconds"] for row in rows[1:]) for variant, rows in measured.items()}
    memory = {variant: statistics.median(row["mb"] for row in rows[1:]) for variant, rows in measured.items()}
    for variant in measured:
        print(f"kdprobe report, {variant:<10}{seconds[variant]:>8.3f} s{memory[variant]:>8.0f} MB")
    ratio, of_memory = (medians["as it is"] / medians["without"] for medians in (seconds, memory))
    print(f"Ratio: {ratio:.3f} in time, {of_memory:.3f} in memory")
    return {"seconds": seconds, "mb": memory, "ratio": ratio, "memory_ratio": of_memory}


def _child(way: str, folder: str, *command: str) -> dict[str, Any]:
    """A command in a separate process: its seconds and memory, and its own operations if they are timed."""
    told = Path(folder, "told.json")
    # stderr stays visible: a run takes minutes.
    subprocess.run(
        [sys.executable, __file__, "--child", way, str(told), *command], check=True, stdout=subprocess.DEVNULL
    )
    found: dict[str, Any] = json.loads(told.read_text(encoding="utf-8"))
    return found


class Clock:
    """How often operations were called, and how long the outermost took."""

    def __init__(self) -> None:
        self.operations: dict[str, list[float]] = {}
        self._inside = False

    def timed(self, owner: Any, name: str) -> None:
        """Replaces a function with a timed one."""
        function: Callable[..., Any] = getattr(owner, name)

        @functools.wraps(function)
        def wrapper(*arguments: Any, **known: Any) -> Any:
            if self._inside:
                return function(*arguments, **known)
            self._inside, started = True, time.perf_counter()
            try:
                return function(*arguments, **known)
            finally:
                entry = self.operations.setdefault(f"{getattr(owner, '__name__', owner)}.{name}", [0, 0.0])
                entry[0] += 1
                entry[1] += time.perf_counter() - started
                self._inside = False

        setattr(owner, name, wrapper)


def _time_all(clock: Clock) -> None:
    """Times all operations; names are bound on import, so each module is patched before those that import from it."""
    from kdprobe import files

    clock.timed(os, "fsync")
    for name in ("sync", "sync_all", "follow_umask", "sha256", "write_sealed", "read_sealed"):
        clock.timed(files, name)
    from kdprobe.host.state import unchanged

    for name in ("read_state", "described", "put_back", "adopt"):
        clock.timed(unchanged, name)
    from kdprobe.experiment.integrity import manifest

    clock.timed(manifest, "seal")
    clock.timed(manifest, "data_digest")
    from kdprobe.evaluation import ledger
    from kdprobe.experiment.integrity.checks import Checks

    clock.timed(ledger, "_checksum")
    for name in ("manifest", "file", "tables", "whole", "sizes", "made"):
        clock.timed(Checks, name)
    from kdprobe.experiment.store import Store

    for name in ("prepare", "hold"):
        clock.timed(Store, name)


def _switch_off() -> None:
    """Nothing is synced, hashed, compared or locked."""
    from kdprobe import files

    os.fsync = lambda _descriptor: None
    files.sha256 = lambda _file: ""

    def read_unsealed(file: Path) -> dict[str, Any]:
        return {name: value for name, value in files.read_json(file).items() if name != files.CHECKSUM}

    files.read_sealed = read_unsealed
    from kdprobe.host.state import unchanged

    @contextlib.contextmanager
    def unwatched(_who: str) -> Iterator[list[str]]:
        yield []

    unchanged.unchanged = unwatched
    from kdprobe.experiment.integrity import use

    use.use = lambda *_: None
    from kdprobe.experiment.integrity.checks import Checks

    Checks._faults = lambda *_: []  # noqa: SLF001 - switched off, not used


def _run_child() -> None:
    way, told, *command = sys.argv[2:]
    started = time.perf_counter()
    clock = Clock()
    if way == "timed":
        _time_all(clock)
    elif way == "without":
        _switch_off()
    from kdprobe.cli import _run

    code = _run(command)
    found = {
        "seconds": time.perf_counter() - started,
        "mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
        "own": sum(taken for _, taken in clock.operations.values()),
        "operations": clock.operations,
    }
    Path(told).write_text(json.dumps(found), encoding="utf-8")
    sys.exit(code)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        _run_child()
    else:
        main()
