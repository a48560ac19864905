"""Reads primings and teachers' answers of a finished run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from kdprobe.comparison.leaks.quotes import priming_passages
from kdprobe.comparison.leaks.teaching import Teaching
from kdprobe.experiment.arm_results import ArmResults
from kdprobe.experiment.integrity.checks import Checks
from kdprobe.experiment.teaching.conversations import reading
from kdprobe.problems.problem import Problem
from kdprobe.transfer.transfer_set import ROWS, read_answers


def written_answers(arms: Sequence[ArmResults], checks: Checks) -> dict[str, pa.Table]:
    """The answers of each strategy's teacher, as tables without its distributions.

    Args:
        arms: All arms; those of a strategy share a transfer set.
        checks: What is known to be undamaged.

    Raises:
        DamagedStageError: A transfer set was changed after it was written.
        KdprobeError: A transfer set cannot be read.
    """
    folders: dict[str, Path] = {}
    for arm in arms:
        if arm.strategy and arm.transfer:
            folders.setdefault(arm.strategy, arm.transfer)
    return {strategy: read_answers(checks.file(folder, ROWS).parent) for strategy, folder in folders.items()}


def teachings(written: Mapping[str, pa.Table], record: Mapping[str, Any]) -> dict[str, Teaching]:
    """The priming and the teacher's answers of each strategy.

    Args:
        written: The result of `written_answers`.
        record: The run's record.
    """
    problems = {row["id"]: Problem(**row) for row in record["problems"]["transfer"]}
    known = {}
    for strategy, pair in record["conversations"].items():
        answers = [(id_, text) for id_, text in _texts(written.get(strategy)) if id_ in problems]
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


def _texts(answers: pa.Table | None) -> list[tuple[str, str]]:
    """Problem and text of each answer."""
    if answers is None:
        return []
    return list(zip(answers["id"].to_pylist(), answers["text"].to_pylist(), strict=True))
