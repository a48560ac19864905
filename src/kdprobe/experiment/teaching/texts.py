"""Reads primings and teachers' answers of a finished run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from kdprobe.comparison.leaks.quotes import priming_passages
from kdprobe.comparison.leaks.teaching import Teaching
from kdprobe.experiment.arm_results import ArmResults
from kdprobe.experiment.integrity.checks import Checks
from kdprobe.experiment.teaching.conversations import reading
from kdprobe.problems.problem import Problem
from kdprobe.transfer.transfer_set import ROWS


def teachings(arms: Sequence[ArmResults], record: Mapping[str, Any]) -> dict[str, Teaching]:
    """The priming and the teacher's answers of each strategy.

    Args:
        arms: All arms.
        record: The run's record.

    Raises:
        DamagedStageError: A transfer set was changed after it was written.
    """
    problems = {row["id"]: Problem(**row) for row in record["problems"]["transfer"]}
    folders = {arm.strategy: arm.transfer for arm in arms if arm.strategy}
    known, checks = {}, Checks()
    for strategy, pair in record["conversations"].items():
        written = _answers(folders.get(strategy), checks)
        answers = [(id_, text) for id_, text in written if id_ in problems]
        known[strategy] = Teaching(
            priming=_priming(pair, problems),
            answers=[text for _, text in answers],
            questions=[problems[id_].question for id_, _ in answers],
        )
    return known


def _priming(pair: Mapping[str, Any], problems: Mapping[str, Problem]) -> list[str]:
    """The passages only the teacher read; records of earlier versions hold the conversation of the first problem."""
    if "priming" in pair:
        return list(pair["priming"])
    first = next(iter(problems.values()), None)
    return priming_passages([reading(pair["teacher"], pair["student"], first)]) if first else []


def _answers(folder: Path | None, checks: Checks) -> list[tuple[str, str]]:
    """Problem and text of each of a teacher's answers, without the columns of numbers, which are large."""
    if folder is None:
        return []
    table = pq.read_table(checks.file(folder, ROWS), columns=["id", "text"])
    return list(zip(table["id"].to_pylist(), table["text"].to_pylist(), strict=True))
