"""Scoring answers that are there already, under any extractor."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from kdprobe.evaluation.outputs import Outputs
from kdprobe.evaluation.statistics import Interval, accuracy_interval
from kdprobe.problems.extractors import Extractor


@dataclass(frozen=True)
class FileScore:
    """What one file's answers are worth under one extractor.

    Attributes:
        file: Where they come from.
        extractor: How values were read and compared.
        n: Answers.
        correct: How many are right.
        accuracy: Their share.
        interval: Wilson's, at 95 %.
        no_answer: Share in which no value was found; they count as wrong.
        empty: Share with nothing written at all; they count as wrong.
        cut_off: Share that reached the token budget, or `None` where the file does not say.
        rules: How often each rule of the extractor fired.
    """

    file: str
    extractor: str
    n: int
    correct: int
    accuracy: float
    interval: Interval
    no_answer: float
    empty: float
    cut_off: float | None
    rules: dict[str, int]


@dataclass(frozen=True)
class Judged:
    """One answer under one extractor.

    Attributes:
        rule: Which rule fired.
        found: Whether a value was found.
        right: Whether it is the gold value.
    """

    rule: str
    found: bool
    right: bool


def judge(outputs: Outputs, extractor: Extractor) -> list[Judged]:
    """Reads every answer of a file and compares it with its gold value, in order."""
    judged = []
    for response, gold in zip(outputs.responses, outputs.gold, strict=True):
        extraction = extractor.extract(response)
        right = extractor.is_right(extraction, gold)
        judged.append(Judged(extraction.rule, extraction.value is not None, right))
    return judged


def score(outputs: Outputs, name: str, judged: Sequence[Judged]) -> FileScore:
    """Sums up what `judge` found under the extractor of this name."""
    n, correct = len(judged), sum(answer.right for answer in judged)
    return FileScore(
        file=outputs.file,
        extractor=name,
        n=n,
        correct=correct,
        accuracy=correct / n,
        interval=accuracy_interval(correct, n),
        no_answer=sum(not answer.found for answer in judged) / n,
        empty=sum(not response.strip() for response in outputs.responses) / n,
        cut_off=None if outputs.cut_off is None else sum(outputs.cut_off) / n,
        rules=dict(Counter(answer.rule for answer in judged).most_common()),
    )
