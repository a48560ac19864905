"""How often an extraction rule reads the value that was read by hand, in 200 answers of real students.

    python benchmarks/read_by_hand.py [DATA] [--rule robust] [--json FILE]
    python benchmarks/read_by_hand.py [DATA] --draw IDS.json

DATA is the folder of test data, by default the one that KDPROBE_TEST_DATA names. The values are in
tests/data/read_by_hand, whose README.md explains how they were found. `--draw` writes which 200 answers were drawn:
about as many of each form, taken from the files in turn. Forms are simple features of the text, so no extractor
influences the draw.

Answers are counted as right, wrong (a different value), missed (no value although there is one) and invented (a value
although there is none). Ambiguous answers are excluded.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import hashlib
import json
import os
import random
import sys
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

from kdprobe.host.registry import Host

VALUES = Path(__file__).parents[1] / "tests" / "data" / "read_by_hand" / "values.json"
PAPER = ("no_distillation", "none", "ground_truth")
FILES = (*(f"paper/generations/{name}.csv.gz" for name in PAPER), "solutions/openai_6b.jsonl")
DRAWN = 200
SEED = 14
MARKS = ("answer is", "answer:", "boxed", "\na: ")
WORDS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "fifteen")
WORDS += ("twenty", "thirty", "hundred", "half")

Answer = tuple[str, int]
"""The file, and the row in it, from 0."""
OUTCOMES = ("right", "wrong value", "missed", "invented")


def main() -> None:
    """Draws, or prints the table and writes it as JSON if requested."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", default=os.environ.get("KDPROBE_TEST_DATA"))
    parser.add_argument("--rule", default="robust", help="the extractor; default: robust")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--draw", type=Path, metavar="IDS", help="write the drawn ids without measuring")
    given = parser.parse_args()
    if given.data is None:
        parser.error("name the folder of test data, or set KDPROBE_TEST_DATA")
    texts = answers(Path(given.data))
    if given.draw:
        ids = [{"file": file, "row": row} for file, row in drawn(texts)]
        given.draw.write_text(json.dumps(ids, indent=1) + "\n", encoding="utf-8")
        return
    values = marked(texts)
    table = measured(texts, values, given.rule)
    print(f"{given.rule:<36}" + "".join(f"{name:>13}" for name in OUTCOMES))
    for name, counts in table.items():
        print(f"{name:<36}" + "".join(f"{counts[outcome]:>13}" for outcome in OUTCOMES))
    counted = sum(table["all"].values())
    print(f"Read right: {table['all']['right']} of {counted} ({table['all']['right'] / counted:.1%}).", end=" ")
    print(f"{len(values) - counted} ambiguous answers are left out.")
    if given.json:
        given.json.write_text(json.dumps({"rule": given.rule, "forms": table}, indent=1) + "\n", encoding="utf-8")


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
    """The contents of the last box, up to its end or the end of the text."""
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
    "no mark, cut off": lambda _: True,
}
"""The first that holds is the form of an answer."""


def form(text: str) -> str:
    """The form that an answer is drawn and counted under."""
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


def digest(texts: dict[Answer, str], chosen: list[Answer]) -> str:
    """Distinguishes the answers that were read from others under the same ids."""
    return hashlib.sha256(json.dumps([texts[answer] for answer in chosen]).encode()).hexdigest()


def marked(texts: dict[Answer, str]) -> dict[Answer, str | None]:
    """What each drawn answer says, read by hand: a number, `None` or `ambiguous`."""
    stored = json.loads(VALUES.read_text(encoding="utf-8"))
    values = {(file, int(row)): value for file, rows in stored["values"].items() for row, value in rows.items()}
    if stored["texts_sha256"] != digest(texts, sorted(values)):
        sys.exit("The folder of test data does not hold the answers that were read by hand.")
    return values


def measured(texts: dict[Answer, str], values: dict[Answer, str | None], rule: str) -> dict[str, dict[str, int]]:
    """How many answers had each outcome, by form and in total."""
    extractor = Host().create("extractors", rule)
    table = {name: dict.fromkeys(OUTCOMES, 0) for name in (*FORMS, "all")}
    for answer, value in values.items():
        if value != "ambiguous":
            read = extractor.extract(texts[answer]).value
            for name in (form(texts[answer]), "all"):
                table[name][outcome(read, value)] += 1
    return table


def outcome(read: Fraction | None, value: str | None) -> str:
    """How the value that a rule read compares with the one read by hand."""
    if value is None:
        return "right" if read is None else "invented"
    if read is None:
        return "missed"
    return "right" if read == Fraction(value) else "wrong value"


if __name__ == "__main__":
    main()
