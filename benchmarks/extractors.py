"""How long the extractors, and the reading of arithmetic, take on the texts of the fuzz test.

    KDPROBE_TEST_DATA=FOLDER python benchmarks/extractors.py [--texts 100000] [--json FILE]

Reports the largest time per 10 kB of any text; a shorter text counts as 10 kB. Exits with 1 if it exceeds 50 ms. The
time is linear if 100 kB take about ten times as long as 10 kB.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from hostile_texts import ANSWERS, real_answers, repeated, texts

from kdprobe.host.registry import Host
from kdprobe.problems.arithmetic import arithmetic_steps

LIMIT = 50.0
"""Milliseconds per 10 kB."""


def main() -> None:
    """Prints the table, writes it as JSON if requested, and fails if a text exceeds the limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=100_000, help="random texts, in addition to the repeated ones")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    data = os.environ.get("KDPROBE_TEST_DATA")
    hostile = list(texts(given.texts, real_answers(Path(data)) if data else ANSWERS))
    characters = sum(map(len, hostile))
    print(f"{len(hostile):,} texts, {characters:,} characters, of mutated {'real' if data else 'built-in'} answers")
    print(f"{'reader':<12}{'10 kB, ms':>12}{'100 kB, ms':>12}{'ratio':>8}{'worst of all, ms per 10 kB':>30}")
    table = [_measured(name, read, hostile) for name, read in readers().items()]
    for row in table:
        print("{reader:<12}{10kB:>12.2f}{100kB:>12.2f}{ratio:>8.1f}{worst:>30.2f}".format(**row))
    if given.json:
        given.json.write_text(json.dumps(table, indent=2), encoding="utf-8")
    if slow := [str(row["reader"]) for row in table if float(row["worst"]) > LIMIT]:
        sys.exit(f"More than {LIMIT:.0f} ms per 10 kB: {', '.join(slow)}.")


def readers() -> dict[str, Callable[[str], object]]:
    """Every extractor with its comparison, and the reading of arithmetic."""

    def extracting(extractor: object) -> Callable[[str], object]:
        return lambda text: extractor.is_right(extractor.extract(text), "18")  # type: ignore[attr-defined]

    host = Host()
    found = {name: extracting(host.create("extractors", name)) for name in host.names("extractors")}
    return {**found, "arithmetic": arithmetic_steps}


def _measured(name: str, read: Callable[[str], object], hostile: list[str]) -> dict[str, object]:
    short, long = (max(milliseconds(read, text) for text in repeated(size)) for size in (10_000, 100_000))
    worst = max(milliseconds(read, text) * 10_000 / max(len(text.encode(errors="replace")), 10_000) for text in hostile)
    return {"reader": name, "10kB": short, "100kB": long, "ratio": long / short, "worst": worst}


def milliseconds(read: Callable[[str], object], text: str) -> float:
    """Time of one call: the faster of two, so that pauses of the machine matter less."""
    taken = []
    for _ in range(2):
        started = time.perf_counter()
        read(text)
        taken.append(time.perf_counter() - started)
    return min(taken) * 1000


if __name__ == "__main__":
    main()
