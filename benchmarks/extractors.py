"""How long the extractors take on the worst texts that one can think of, and on mutated ones.

    python benchmarks/extractors.py [--texts 100000] [--json FILE]

Time per 10 kB, the largest of all texts. Linear time shows where 100 kB take ten times what 10 kB take.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Iterator
from pathlib import Path

from kdprobe.host.registry import Host

PIECES = ["9", "{", "}", ",", " ", "the ", "the answer is ", "-", "#### ", "1/", "\\boxed{", "oxed{9", "$", ".", "\n"]
WORDS = [*PIECES, "Tom has 3 apples", "1,200.50", "\\frac{3}{4}", "A: 18", "final", "5/0", "\u2212", "%", "answer"]


def main() -> None:
    """Prints the table, and writes it as JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=100_000, help="random texts for each extractor")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    host = Host()
    print(f"{'extractor':<12}{'10 kB, ms':>12}{'100 kB, ms':>12}{'ratio':>8}{'worst of random, ms/10 kB':>28}")
    table = []
    for name in host.names("extractors"):
        extractor = host.build("extractors", name, host.options("extractors", name, {}))
        short, long = (max(milliseconds(extractor, text) for text in uniform(size)) for size in (10_000, 100_000))
        worst = max(
            milliseconds(extractor, text) * 10_000 / max(len(text.encode(errors="replace")), 10_000)
            for text in mutated(given.texts)
        )
        table.append({"extractor": name, "10kB": short, "100kB": long, "ratio": long / short, "random": worst})
        print(f"{name:<12}{short:>12.2f}{long:>12.2f}{long / short:>8.1f}{worst:>28.2f}")
    if given.json:
        given.json.write_text(json.dumps(table, indent=2), encoding="utf-8")


def uniform(size: int) -> Iterator[str]:
    """One piece over and over, for each piece."""
    for piece in PIECES:
        yield piece * (size // len(piece))


def mutated(count: int) -> Iterator[str]:
    """Random strings of words and characters; one in a hundred is long."""
    chance = random.Random(0)  # noqa: S311 - nothing secret
    for number in range(count):
        length = chance.randint(1, 3000 if number % 100 == 0 else 60)
        parts = chance.choices(WORDS, k=length)
        parts.insert(chance.randrange(length), chr(chance.randrange(32, 0x2FFF)))
        yield "".join(parts)


def milliseconds(extractor: object, text: str) -> float:
    """Time of one call, of extraction and comparison; the faster of two, so that a pause of the machine counts less."""
    taken = []
    for _ in range(2):
        started = time.perf_counter()
        extractor.is_right(extractor.extract(text), "18")  # type: ignore[attr-defined]
        taken.append(time.perf_counter() - started)
    return min(taken) * 1000


if __name__ == "__main__":
    main()
