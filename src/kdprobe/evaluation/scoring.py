"""Scoring answers that are there already, under any extractor."""

from __future__ import annotations

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


def score(outputs: Outputs, name: str, extractor: Extractor) -> FileScore:
    """Scores one file under one extractor."""
    n, correct, nothing = len(outputs.responses), 0, 0
    rules: dict[str, int] = {}
    for response, gold in zip(outputs.responses, outputs.gold, strict=True):
        extraction = extractor.extract(response)
        rules[extraction.rule] = rules.get(extraction.rule, 0) + 1
        nothing += extraction.value is None
        correct += extractor.is_right(extraction, gold)
    return FileScore(
        file=outputs.file,
        extractor=name,
        n=n,
        correct=correct,
        accuracy=correct / n,
        interval=accuracy_interval(correct, n),
        no_answer=nothing / n,
        empty=sum(not response.strip() for response in outputs.responses) / n,
        cut_off=None if outputs.cut_off is None else sum(outputs.cut_off) / n,
        rules=dict(sorted(rules.items(), key=lambda item: -item[1])),
    )
