"""Kills a run with SIGKILL at random moments, starts it again, and compares the end with an undisturbed run.

    python tests/faults/kill_and_resume.py [CONFIG] [--kills 20] [--seed 0]

Without CONFIG, the embedded experiment is run. Every process is a fork of one that has loaded what it needs, and lives
for up to twice the undisturbed run's time divided by the number of kills, so that kills hit all stages. Exits with 0 if
every number is the same and no finished stage was run twice.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

from commands import Done, command

from kdprobe.experiment.config import EMBEDDED


def main() -> None:
    """Runs undisturbed, then with kills, and compares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, nargs="?", default=EMBEDDED)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        fault = compare_disturbed(given.config, given.kills, given.seed, Path(folder))
    print(fault or "The same numbers as undisturbed, no finished stage made twice.")
    sys.exit(1 if fault else 0)


def compare_disturbed(config: Path, kills: int, seed: int, folder: Path) -> str | None:
    """A description of what went wrong, or `None`."""
    started = time.monotonic()
    undisturbed = finish(config, folder / "undisturbed", folder)
    length = time.monotonic() - started
    moments = random.Random(seed)
    store = folder / "killed"
    made: dict[Path, float] = {}
    for kill in range(kills):
        run = start(config, store, folder, seconds=moments.uniform(0.0, 2 * length / kills))
        if run.code not in {0, -signal.SIGKILL}:
            return f"process {kill + 1} failed with exit code {run.code}"
        for stage, when in finished(store).items():
            if made.setdefault(stage, when) != when:
                return f"after kill {kill + 1}, the finished stage {stage.name} was rerun"
        ended = "killed" if run.code == -signal.SIGKILL else "came to its end"
        print(f"Process {kill + 1} of {kills} {ended}; {len(made)} stages are finished.", file=sys.stderr)
    disturbed = finish(config, store, folder)
    again = [stage.name for stage, when in finished(store).items() if made.get(stage, when) != when]
    if again:
        return f"the finished stages {again} were rerun"
    return None if numbers(disturbed) == numbers(undisturbed) else "the numbers differ from the undisturbed run's"


def start(config: Path, store: Path, folder: Path, seconds: float | None = None) -> Done:
    """The same command every time."""
    return command("run", config, "--store", store, "--json", folder=folder, seconds=seconds)


def finish(config: Path, store: Path, folder: Path) -> dict:
    """Runs to the end."""
    done = start(config, store, folder)
    if done.code != 0:
        raise SystemExit(f"the run failed:\n{done.err}")
    return done.data


def finished(store: Path) -> dict[Path, float]:
    """Finished stages and when their manifest was written."""
    return {file.parent: file.stat().st_mtime for file in store.glob("stages/*/*/stage.json")}


def numbers(results: dict) -> dict:
    """All results except times, speed, the page's path, and warnings, which report damage."""
    fidelity = {arm: {**figures, "tokens_per_second": None} for arm, figures in results["fidelity"].items()}
    return {key: value for key, value in results.items() if key not in {"seconds", "report", "warnings"}} | {
        "fidelity": fidelity
    }


if __name__ == "__main__":
    main()
