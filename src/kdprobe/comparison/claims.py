"""Checks published scores for consistency, and against existing answers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path

import pandas as pd

from kdprobe.comparison.finding import Finding
from kdprobe.comparison.result import ArmScore
from kdprobe.errors import KdprobeError

_COLUMNS = ("arm", "accuracy", "correct", "n")
_LONGEST = 20
"""Maximum digits; writing out `1e999999999` would take forever."""


@dataclass(frozen=True)
class Claim:
    """A published score of an arm.

    Attributes:
        arm: The arm's name.
        accuracy: In percent, with as many decimals as were printed, or `None`.
        correct: Number of problems solved, or `None`.
        n: Number of problems, or `None`.
    """

    arm: str
    accuracy: Decimal | None
    correct: int | None
    n: int | None

    def accuracy_contradicts(self) -> bool:
        """Whether the printed percentage matches the count neither when rounded nor when truncated to its decimals."""
        if self.accuracy is None or self.correct is None or not self.n:
            return False
        unit = Decimal(1).scaleb(int(self.accuracy.as_tuple().exponent))
        return abs(Decimal(100 * self.correct) / self.n - self.accuracy) >= unit


def read_claims(file: Path) -> list[Claim]:
    """Reads a table of published scores.

    Args:
        file: CSV with the column `arm` and any of `accuracy` (in percent, `12.20` or `12.20%`), `correct` and `n`.

    Raises:
        KdprobeError: It cannot be read, has no column `arm`, or a cell is not a number.
    """
    try:
        table = pd.read_csv(file, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise KdprobeError(f"{file} cannot be read as CSV.", "Check the path and the file.") from error
    if "arm" not in table:
        raise KdprobeError(
            f"{file} has no column 'arm'; its columns are {', '.join(table.columns)}.",
            f"Supported columns: {', '.join(_COLUMNS)}.",
        )
    rows = [{name: row.get(name, "") for name in _COLUMNS} for row in table.to_dict("records")]
    return [
        Claim(
            row["arm"],
            _number(row["accuracy"], file),
            _count(row["correct"], file),
            _count(row["n"], file),
        )
        for row in rows
    ]


def claim_findings(claims: Sequence[Claim], arms: Sequence[ArmScore]) -> list[Finding]:
    """Finds claims that contradict themselves or the answers of the arm they name."""
    inconsistent = [
        f"{claim.accuracy}% claimed for {claim.arm}, but {claim.correct} of {claim.n} is "
        f"{100 * claim.correct / claim.n:.2f}%"
        for claim in claims
        if claim.accuracy_contradicts() and claim.correct is not None and claim.n
    ]
    scores = {arm.name: arm for arm in arms}
    contradicted = [
        f"{claim.correct} claimed correct for {claim.arm}, but {arm.correct} of its answers "
        f"{'is' if arm.correct == 1 else 'are'} correct under {arm.extractor}"
        for claim in claims
        if claim.correct is not None and (arm := scores.get(claim.arm)) and arm.correct != claim.correct
    ]
    findings = []
    if inconsistent:
        action = "Trust the counts if you have the answers behind them; otherwise ask for the answers."
        findings.append(
            Finding("contradicting-counts", f"Percentages contradict counts: {'; '.join(inconsistent)}.", action)
        )
    if contradicted:
        action = (
            "Score with the extractor that was used for the table; any difference that remains comes from manual "
            "scoring."
        )
        findings.append(
            Finding("contradicting-answers", f"Claims contradict answers: {'; '.join(contradicted)}.", action)
        )
    return findings


def _number(cell: str, file: Path) -> Decimal | None:
    text = re.sub(r"\s*%\s*\Z", "", cell.strip())
    if not text:
        return None
    try:
        number = Decimal(text)
    except InvalidOperation as error:
        raise KdprobeError(f"{file}: {cell!r} is not a number.", "Write accuracies in percent.") from error
    if not number.is_finite() or max(len(text), abs(number.adjusted())) > _LONGEST:
        raise KdprobeError(f"{file}: {cell!r} is neither an accuracy nor a count.", "Write accuracies in percent.")
    return number


def _count(cell: str, file: Path) -> int | None:
    number = _number(cell, file)
    if number is not None and (number < 0 or number % 1):
        raise KdprobeError(f"{file}: {cell!r} is not a count.", "Use integers in the columns 'correct' and 'n'.")
    return None if number is None else int(number)
