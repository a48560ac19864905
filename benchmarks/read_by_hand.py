"""How often a reading rule reads the value that a reader by hand found in 200 answers of real students.

    KDPROBE_TEST_DATA=FOLDER python benchmarks/read_by_hand.py [--rule robust] [--json FILE]
    KDPROBE_TEST_DATA=FOLDER python benchmarks/read_by_hand.py --draw IDS.json

The values are in tests/data/read_by_hand, whose README.md says how they were found. `--draw` writes which 200 answers
were drawn: about as many of each form, and in turn from each file. Forms are features of the text alone, so that no
extractor has a say in what is drawn.
"""

from __future__ import annotations

import csv
import gzip
import json
import random
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAPER = ("no_distillation", "none", "ground_truth")
FILES = (*(f"paper/generations/{name}.csv.gz" for name in PAPER), "solutions/openai_6b.jsonl")
DRAWN = 200
SEED = 14
MARKS = ("answer is", "answer:", "boxed", "\na: ")
WORDS = "two three four five six seven eight nine ten eleven twelve fifteen twenty thirty hundred half".split()

Answer = tuple[str, int]
"""The file, and the row in it, from 0."""

def answers(data: Path) -> dict[Answer, str]:
    """The text of every answer, of all files."""
    csv.field_size_limit(sys.maxsize)
    found = {}
    for file in FILES:
        if file.endswith(".jsonl"):
            texts = [json.loads(line)["solution"] for line in (data / file).read_text(encoding="utf-8").splitlines()]
        else:
            with gzip.open(data / file, "rt", encoding="utf-8", newline="") as stream:
                texts = [row["model_answer"] for row in csv.DictReader(stream)]
        found |= {(file, row): text for row, text in enumerate(texts)}
    return found


def _boxed(text: str) -> str:
    """What the last box holds, up to its end or that of the text."""
    return text.rpartition("boxed{")[2].partition("}")[0] if "boxed{" in text else ""


def _lines(text: str) -> list[str]:
    return text.strip().splitlines() or [""]


def _marks(text: str) -> int:
    return sum(text.lower().count(mark) for mark in MARKS)


def _ends_with_line(text: str) -> str:
    return _lines(text)[-1].removeprefix("A: ") if _lines(text)[-1].startswith("A: ") else ""


FORMS: dict[str, Callable[[str], bool]] = {
    "final line A: value": lambda text: _ends_with_line(text).isdigit(),
    "final line A: with other signs": lambda text: bool(_ends_with_line(text)),
    "runs on to a question": lambda text: "question:" in text.lower() or "problem:" in text.lower(),
    "code": lambda text: any(sign in text for sign in ("```", "def ", "print(", "\\begin{")),
    "letter choices": lambda text: any(mark in text for mark in ("A) ", "(A)", "A. ", "B) ", "(B)", "B. ")),
    "box cut off": lambda text: "boxed{" in text and "}" not in text.rpartition("boxed{")[2],
    "box with more than digits": lambda text: bool(_boxed(text)) and not _boxed(text).isdigit(),
    "mark repeated": lambda text: _marks(text) >= 6,
    "mark at the beginning and later": lambda text: _marks(text[:80]) > 0 and _marks(text[120:]) > 0,
    "mark at the beginning only": lambda text: _marks(text[:80]) > 0,
    "box": lambda text: "boxed" in text,
    "answer is, no box": lambda text: "answer is" in text.lower(),
    "other mark": lambda text: _marks(text) > 0,
    "no mark, late bullet or heading": lambda text: any(
        line.lstrip().startswith(("#", "- ", "* ", "1.", "2.", "3.", "4.", "5.", "•")) for line in _lines(text)[-2:]
    ),
    "no mark, number in words": lambda text: any(f" {word} " in text[-120:] for word in WORDS),
    "no mark, equation in the last line": lambda text: "=" in _lines(text)[-1],
    "no mark, begins with a digit": lambda text: text.lstrip("$ \n")[:1].isdigit(),
    "no mark, finished": lambda text: text.rstrip().endswith((".", "!", "?")),
    "no mark, cut off": lambda text: True,
}
"""The first that holds is the form of an answer."""


def form(text: str) -> str:
    return next(name for name, holds in FORMS.items() if holds(text))


def drawn(texts: dict[Answer, str]) -> list[Answer]:
    """One answer of each form in turn, each time from the file that has given the fewest so far."""
    chance = random.Random(SEED)  # noqa: S311 - nothing secret
    left: dict[str, dict[str, list[Answer]]] = {name: {file: [] for file in FILES} for name in FORMS}
    for answer in chance.sample(sorted(texts), len(texts)):
        left[form(texts[answer])][answer[0]].append(answer)
    given = Counter(dict.fromkeys(FILES, 0))
    found: list[Answer] = []
    while len(found) < DRAWN:
        for files in left.values():
            if len(found) < DRAWN and any(files.values()):
                file = min((file for file in FILES if files[file]), key=lambda file: given[file])
                given[file] += 1
                found.append(files[file].pop())
    return sorted(found)
