"""Checks that the embedded experiment shows what it is meant to show for any draw of problems.

    python benchmarks/demo.py [--repetitions 10] [--json FILE]

Each repetition draws new transfer and test problems and trains with a different seed; it leaves out only the probing
and the controls of the embedded experiment. The priming that matters should make a significant difference in at least
nine of ten repetitions, the priming that is only worded differently in at most two, and at least half of the teacher's
answers under the latter should differ in text from the unprimed ones. Exits with 1 otherwise.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import tomllib
from pathlib import Path
from typing import Any

from result_file import write_result

import kdprobe
from kdprobe.experiment.config import EMBEDDED
from kdprobe.transfer.transfer_set import read

POSITIVE, NEGATIVE, UNPRIMED = "ground-truth", "polite", "unprimed"
FIRST_DRAW = 101
"""The seed of the first repetition's draws; the embedded experiment's is 0, its teacher's 1000."""


def main() -> None:
    """Prints a row per repetition and the totals, and fails if they are not as expected."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=10)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    rows = []
    print("| draw | unprimed | polite | ground-truth | p, ground-truth | p, polite | texts that differ | s |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |", flush=True)
    for repetition in range(given.repetitions):
        with tempfile.TemporaryDirectory() as store:
            row = repeated(FIRST_DRAW + repetition, Path(store))
        rows.append(row)
        right = " | ".join(f"{row[arm]} of {row['problems']}" for arm in (UNPRIMED, NEGATIVE, POSITIVE))
        print(
            f"| {row['draw']} | {right} | {row['p_positive']:.2g} | {row['p_negative']:.2g} "
            f"| {row['texts_that_differ']:.0%} | {row['seconds']:.0f} |",
            flush=True,
        )
    shown = {
        "positive": sum(row["positive"] for row in rows),
        "negative": sum(row["negative"] for row in rows),
        "texts_that_differ": min(row["texts_that_differ"] for row in rows),
    }
    print(
        f"\nSignificant of {len(rows)}: the priming that matters in {shown['positive']}, the one in other words in "
        f"{shown['negative']}. Answers under the latter that differ in text from the unprimed ones: at least "
        f"{shown['texts_that_differ']:.0%}."
    )
    if given.json:
        write_result(given.json, {"repetitions": rows, **shown})
    enough = shown["positive"] >= 0.9 * len(rows) and shown["negative"] <= 0.2 * len(rows)
    if not enough or shown["texts_that_differ"] < 0.5:
        sys.exit("That is not what the experiment is meant to show.")


def repeated(draw: int, store: Path) -> dict[str, Any]:
    """One repetition: correct answers per arm, adjusted p-values, and the share of texts that differ."""
    config = tomllib.loads(EMBEDDED.read_text(encoding="utf-8"))
    config["name"], config["seeds"] = f"demo-{draw}", [draw]
    config["problems"]["options"]["seed"] = draw
    config["controls"] = {"untrained": False, "fine_tuned": False}
    config["probe"]["analyses"] = []
    started = time.perf_counter()
    run = kdprobe.run(config, store=store, progress=False)
    pairs = {pair.a: pair for pair in run.comparison.pairs if pair.b == UNPRIMED}
    answers = {
        arm["strategy"]: {
            response.id: response.text for response in read(run.store.folder_of("transfer", arm["transfer"])).responses
        }
        for arm in run.results.record["arms"]
    }
    unprimed = answers[UNPRIMED]
    scores = {score.name: score for score in run.comparison.arms}
    return {
        "draw": draw,
        "problems": scores[UNPRIMED].n,
        **{arm: scores[arm].correct for arm in (UNPRIMED, NEGATIVE, POSITIVE)},
        "p_positive": pairs[POSITIVE].p_holm,
        "p_negative": pairs[NEGATIVE].p_holm,
        "positive": pairs[POSITIVE].significant and pairs[POSITIVE].test.difference > 0,
        "negative": pairs[NEGATIVE].significant,
        "texts_that_differ": sum(text != unprimed[id_] for id_, text in answers[NEGATIVE].items()) / len(unprimed),
        "seconds": time.perf_counter() - started,
    }


if __name__ == "__main__":
    main()
