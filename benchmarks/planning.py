"""How long `kdprobe plan` takes for many problems and four strategies: the first time, again, and after a change.

    KDPROBE_GSM8K=FOLDER python benchmarks/planning.py [--problems 4000] [--rounds 3] [--against CHECKOUT] [--json FILE]

Each plan runs in its own process, and each round begins without a store and with a cache folder that has only converted
models:

    a new model           nothing is known about the model, and the store is empty
    first                 the model is known from the plan before, and the store is empty
    second                the same plan again
    one strategy changed  in the same store

With another checkout of kdprobe, the two are run in turn. Seconds are medians; memory is the largest resident size of
the process (Linux). Exits with 1 if a plan takes longer than `--limit` seconds.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from result_file import write_result

CONFIG = """
name = "planning"
strategies = {strategies}
[problems]
source = "gsm8k"
transfer = {problems}
test = {test}
[student]
model = "{model}"
[teacher.options]
model = "{model}"
[transfer]
max_new_tokens = 256
[distill]
name = "logits"
"""
PRIMED = ["none", "teacher", "ground-truth", "confidence"]
CHANGED = [*PRIMED[:3], {"name": "template", "options": {"text": "Think step by step.\n\n{question}"}}]
NEW = "a new model"
PLANS = {NEW: PRIMED, "first": PRIMED, "second": PRIMED, "one strategy changed": CHANGED}
FIGURES = ("seconds", "cpu_seconds", "peak_mib")
HERE = Path(__file__).parents[1]


def main() -> None:
    """Prints the table, writes it as JSON if requested, and fails if a plan is too slow."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--problems", type=int, default=4000)
    parser.add_argument("--test", type=int, default=1319)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--against", type=Path, help="the folder of another checkout")
    parser.add_argument("--limit", type=float, default=5.0)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    checkouts = {"here": HERE, **({"against": given.against} if given.against else {})}
    taken: dict[tuple[str, str], list[tuple[float, float, float]]] = {}
    for _ in range(given.rounds):
        with tempfile.TemporaryDirectory() as folder:
            for plan, strategies in PLANS.items():
                config = Path(folder) / f"{plan}.toml"
                config.write_text(
                    CONFIG.format(
                        strategies=_toml(strategies), problems=given.problems, test=given.test, model=given.model
                    ),
                    encoding="utf-8",
                )
                for name, checkout in checkouts.items():
                    own = Path(folder) / name
                    cache = _cache(own / "cache")
                    store = own / (NEW if plan == NEW else "store")
                    taken.setdefault((plan, name), []).append(_measured(checkout, config, store, cache))
    rows = [
        {"plan": plan, "checkout": name}
        | dict(zip(FIGURES, map(statistics.median, zip(*rounds, strict=True)), strict=True))
        for (plan, name), rounds in taken.items()
    ]
    print("| plan | checkout | s | CPU s | peak MiB |\n| --- | --- | --- | --- | --- |")
    for row in rows:
        seconds, processors, peak = (row[figure] for figure in FIGURES)
        print(f"| {row['plan']} | {row['checkout']} | {seconds:.2f} | {processors:.2f} | {peak:.0f} |")
    if given.json:
        write_result(given.json, {"problems": given.problems, "test": given.test, "plans": rows})
    limited = [row for row in rows if row["checkout"] == "here"]
    if slow := [row["plan"] for row in limited if row["seconds"] > given.limit]:
        sys.exit(f"Longer than {given.limit:g} s: {', '.join(map(str, slow))}.")


def _cache(folder: Path) -> Path:
    """A cache folder that shares the converted models of the usual one."""
    from kdprobe.models.cache import cache_folder

    if not folder.is_dir():
        folder.mkdir(parents=True)
        (folder / "models").symlink_to(cache_folder() / "models")
    return folder


def _measured(checkout: Path, config: Path, store: Path, cache: Path) -> tuple[float, float, float]:
    """Seconds, CPU seconds and peak memory in MiB of one plan."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "kdprobe", "plan", str(config), "--store", str(store), "--json"]
    environment = {**os.environ, "PYTHONPATH": str(checkout / "src"), "KDPROBE_CACHE": str(cache)}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"The plan of {config} ended with {process.returncode}.")
    return time.perf_counter() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 2**10


def _toml(strategies: list[object]) -> str:
    named = []
    for strategy in strategies:
        if isinstance(strategy, dict):
            options = strategy["options"]["text"].replace("\n", "\\n")
            named.append(f'{{ name = "{strategy["name"]}", options = {{ text = "{options}" }} }}')
        else:
            named.append(f'"{strategy}"')
    return f"[{', '.join(named)}]"


if __name__ == "__main__":
    main()
