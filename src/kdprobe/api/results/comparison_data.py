"""Comparisons as the data of `--json`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kdprobe.comparison.result import Comparison
    from kdprobe.comparison.tasks.result import TaskComparison


def comparison_data(comparison: Comparison) -> dict[str, Any]:
    """A comparison as plain data."""
    return {
        "verdict": comparison.verdict,
        "arms": [asdict(score) for score in comparison.arms],
        "pairs": [_flat_pair(asdict(pair)) for pair in comparison.pairs],
        "strategies": [_flat_pair(asdict(pair)) for pair in comparison.strategies],
        "findings": [asdict(finding) for finding in comparison.findings],
        "pairing": comparison.pairing,
        "absent": [asdict(arm) for arm in comparison.absent],
        "tasks": _task_data(comparison.tasks) if comparison.tasks else None,
    }


def _task_data(tasks: TaskComparison) -> dict[str, Any]:
    changes = [_flat_pair(asdict(change)) | {"outcome": change.outcome} for change in tasks.changes]
    return {"roles": tasks.roles, "scores": [asdict(score) for score in tasks.scores], "changes": changes}


def _flat_pair(pair: dict[str, Any]) -> dict[str, Any]:
    return {**{key: value for key, value in pair.items() if key != "test"}, **pair["test"]}
