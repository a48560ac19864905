"""Hostile texts, for both the fuzz test and the benchmark of the extractors."""

from __future__ import annotations

import csv
import gzip
import random
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

PIECES = ("9", "{", "}", ",", " ", "the ", "the answer is ", "-", "#### ", "####", "1/", "\\boxed{", "oxed{9", "$", ".")
PIECES += ("\n", "(", ")", "=", "9=", "9+", "9+9=9 ", "9 x ", "<<", "<<1+1=2>>", "%", "1 1/", "\\frac{1}{2}", "\u2212")
"""Repeated for 100 kB each."""
WORDS = (*PIECES, "Tom has 3 apples", "1,200.50", "\\frac{3}{4}", "A: 18", "final", "5/0", "answer", "2 1/2", "\u00bd")
WORDS += (
    "half of",
    "x",
    " = ",
    " + ",
    " * ",
    "50%",
    "\u0663",
    "\u00a0",
    "1e9",
    "\r",
    "\t",
    "**",
    "\x00",
    "\ud800",
    "is 7",
)
ANSWERS = (
    "Natalia sold 48/2 = <<48/2=24>>24 clips in May.\nAltogether 48+24 = <<48+24=72>>72 clips.\n#### 72",
    "To find the total, add the two: $1,200.50 + $99.50 = $1,300. The final answer is $\\boxed{1300}$.",
    "Step 1: 20% of 50 is 10.\nStep 2: 50 - 10 = 40, so she pays **$40**. Therefore, the answer is 40 dollars.",
    "Let x be the number of eggs. 2x + 3 = 7, so x = (7 - 3) / 2 = 2. He has 2 eggs, or \\frac{1}{2} of 4.",
    "I think it is -3. No, wait: 5 - 8 = -3, and 3/4 of 8 = 6. The answer is 6",
)
"""Used if no real answers are available."""
LONGEST_WINDOW = 160


def texts(count: int, answers: Sequence[str] = ANSWERS, seed: int = 0) -> Iterator[str]:
    """Random texts: pieces of answers with mutations, words in any order, and any characters; then the repeated ones.

    Args:
        count: How many random texts.
        answers: What is mutated.
        seed: The same seed and answers give the same texts.
    """
    chance = random.Random(seed)  # noqa: S311 - nothing secret
    for number in range(count):
        kind = number % 4
        if kind < 2:
            yield _mutated(chance, chance.choice(answers))
        elif kind == 2:
            yield "".join(chance.choices(WORDS, k=chance.randint(0, 30 if number % 1000 else 3000)))
        else:
            yield "".join(chr(chance.randrange(0x110000 if number % 8 == 3 else 0x80)) for _ in range(number % 41))
    yield from repeated(100_000)


def repeated(size: int) -> Iterator[str]:
    """For each piece, a text of `size` characters that repeats it."""
    for piece in PIECES:
        yield piece * (size // len(piece))


def real_answers(folder: Path) -> list[str]:
    """The answers of the response-priming paper's students, from the folder that KDPROBE_TEST_DATA names."""
    csv.field_size_limit(sys.maxsize)
    found = []
    for file in sorted((folder / "paper" / "generations").glob("*.csv.gz")):
        with gzip.open(file, "rt", encoding="utf-8") as stream:
            found += [row["model_answer"] for row in csv.DictReader(stream) if row["model_answer"]]
    return found


def _mutated(chance: random.Random, answer: str) -> str:
    """A window of an answer with up to six characters or stretches deleted, doubled, or replaced by a word."""
    begin = chance.randrange(len(answer))
    text = answer[begin : begin + chance.randint(1, LONGEST_WINDOW)]
    for _ in range(chance.randint(0, 6)):
        start = chance.randint(0, len(text))
        stop = min(len(text), start + chance.choice((0, 1, 1, 2, 8)))
        new = chance.choice(("", text[start:stop] * 2, chance.choice(WORDS)))
        text = text[:start] + new + text[stop:]
    return text
