"""Published collections, from the Hugging Face Hub or from the authors' file.

| name | paper | on the Hub | the authors' file |
| --- | --- | --- | --- |
| `svamp` | Patel et al. (2021), arXiv 2103.07191 | ChilleD/SVAMP | SVAMP.json |
| `asdiv` | Miao et al. (2020), arXiv 2106.15772 | EleutherAI/asdiv | ASDiv.xml |
| `multi-arith` | Roy & Roth (2015), arXiv 1608.01413 | ChilleD/MultiArith | MultiArith.json |

They have equations instead of worked solutions, so a gold solution is the equation and its value. Problems whose answer
is not a single number (ASDiv has some with two, or with words) are skipped, and repeated questions count once.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from pydantic import BaseModel, ConfigDict, Field

from kdprobe import KdprobeError, Problem
from kdprobe.problems import Split, normalised
from kdprobe_word_problems.splits import once, split_of

Row = Mapping[str, Any]
_DECIMALS = re.compile(r"(\d)\.0+(?!\d)")
"""Matches the end of `8.0`, as these collections write whole numbers."""


class CollectionOptions(BaseModel):
    """Where the collection is read from."""

    model_config = ConfigDict(extra="forbid")

    file: Path | None = Field(
        default=None,
        description="The authors' file, used instead of the Hub. A hash of the question decides the split.",
    )
    revision: str | None = Field(default=None, description="A commit of the data set on the Hub.")


@dataclass(frozen=True)
class Collection:
    """A published collection.

    Attributes:
        name: Its name in configs.
        summary: A description in one line.
        hub: Its id on the Hub.
        parts: For each split, the Hub's part; if several share a part, questions are split by their digests.
        read: Returns question, equation and answer of a row, as text; raises `KeyError` if it is not such a row.
    """

    name: str
    summary: str
    hub: str
    parts: Mapping[Split, str]
    read: Callable[[Row], tuple[str, str, str]]

    def source(self, options: CollectionOptions) -> Callable[[Split], Iterator[Problem]]:
        """Returns the problem source."""
        return partial(self._problems, options)

    def _problems(self, options: CollectionOptions, split: Split) -> Iterator[Problem]:
        if options.file is None and split not in self.parts:
            raise KdprobeError(
                f"The problem source {self.name!r} has no {split} split on the Hub.", f"It has {', '.join(self.parts)}."
            )
        if options.file or len(set(self.parts.values())) == 1:
            rows = _of_file(options.file) if options.file else _of_hub(self, self.parts[split], options.revision)
            yield from (problem for problem in once(self._read(rows, "")) if split_of(problem.question) == split)
            return
        part = self.parts[split]
        tested: set[str] = set()
        if split != "test":
            # The Hub's parts overlap: a test problem may also be in the training part.
            theirs = _of_hub(self, self.parts["test"], options.revision)
            tested = {normalised(problem.question) for problem in self._read(theirs, "")}
        for problem in once(self._read(_of_hub(self, part, options.revision), f"{part}-")):
            if normalised(problem.question) not in tested:
                yield problem

    def _read(self, rows: Iterator[Row], part: str) -> Iterator[Problem]:
        for index, row in enumerate(rows, start=1):
            try:
                question, equation, answer = self.read(row)
            except (KeyError, IndexError, TypeError, AttributeError) as error:
                raise KdprobeError(
                    f"Row {index} is not a problem of the collection {self.name!r} ({type(error).__name__}: {error}).",
                    "Check that the file is the one published by the collection's authors.",
                ) from error
            value = _number(answer)
            if value is not None and question.strip():
                solution = f"{equation} = {value}\n#### {value}" if equation else f"#### {value}"
                yield Problem(f"{self.name}-{part}{index}", " ".join(question.split()), solution, value)


def _svamp(row: Row) -> tuple[str, str, str]:
    body, question = row["Body"].strip(), row["Question"].strip()
    # Some bodies lack the full stop at the end.
    joined = f"{body} {question}" if body.endswith((".", "?", "!", ",")) else f"{body}, {question}"
    return joined, _equation(row["Equation"]), str(row["Answer"])


def _asdiv(row: Row) -> tuple[str, str, str]:
    # The Hub's fields are lower case, the file's are not.
    body, question, formula, answer = (
        row[name] if name in row else row[name.lower()] for name in ("Body", "Question", "Formula", "Answer")
    )
    left, _, right = formula.partition("=")
    # The answer includes its unit: `9 (apples)`. Formulas with several equations are not a single calculation.
    equation = _equation(left) if right and "=" not in right and ";" not in formula else ""
    return f"{body} {question}", equation, re.sub(r"\(.*?\)", "", answer)


def _multi_arith(row: Row) -> tuple[str, str, str]:
    if "sQuestion" in row:
        (value,), (equation,) = row["lSolutions"], row["lEquations"]
        return row["sQuestion"], _equation(equation.partition("=")[2]), str(value)
    return row["question"], "", str(row["final_ans"])


COLLECTIONS = (
    Collection(
        "svamp",
        "One-step problems, varied so that keywords mislead",
        "ChilleD/SVAMP",
        {"transfer": "train", "test": "test"},
        _svamp,
    ),
    Collection(
        "asdiv",
        "Elementary school problems of many kinds with a single number as the answer",
        "EleutherAI/asdiv",
        {"teacher": "validation", "transfer": "validation", "test": "validation"},
        _asdiv,
    ),
    Collection(
        "multi-arith",
        "Problems of two or more steps",
        "ChilleD/MultiArith",
        {"transfer": "train", "test": "test"},
        _multi_arith,
    ),
)


def _of_hub(collection: Collection, part: str, revision: str | None) -> Iterator[Row]:
    from datasets import load_dataset

    try:
        rows = load_dataset(collection.hub, split=part, revision=revision)
    except Exception as error:
        # `datasets` raises errors from four libraries here; all mean the same to the user.
        raise KdprobeError(
            f"{collection.hub} could not be loaded from the Hub ({type(error).__name__}).",
            "Connect to the network once, or set `file` to the file published by the collection's authors.",
        ) from error
    return iter(rows)


def _of_file(file: Path) -> Iterator[Row]:
    try:
        if file.suffix.lower() == ".xml":
            # Python's expat (2.4.1 and later) rejects exploding entities.
            cells = ET.parse(file).iter("Problem")  # noqa: S314
            return ({field.tag: field.text or "" for field in cell} for cell in cells)
        rows = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, ET.ParseError) as error:
        raise KdprobeError(
            f"The problem file {file} cannot be read: {error}.", "Check the option `file` of the problem source."
        ) from error
    if not isinstance(rows, list):
        raise KdprobeError(f"The problem file {file} has no list of problems.", "Check that it is the authors' file.")
    return iter(rows)


def _number(text: str) -> str | None:
    """Returns a number in the form of a gold value, `8` for `8.0`; `None` if the text is not a single number."""
    plain = text.strip().replace(",", "")
    if not re.fullmatch(r"-?\d{1,15}(?:\.\d{1,15}|/[1-9]\d{0,5})?", plain):
        return None
    value = Fraction(plain)
    return str(value.numerator) if value.denominator == 1 else plain


def _equation(text: str) -> str:
    """Returns an equation's left side without outer brackets, and with `8` for `8.0`."""
    plain = _DECIMALS.sub(r"\1", text).strip()
    outer = plain.startswith("(") and plain.endswith(")") and "(" not in plain[1:]
    return plain[1:-1].strip() if outer else plain
