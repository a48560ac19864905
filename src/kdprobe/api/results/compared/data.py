"""Comparisons as the data of `--json`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from kdprobe.api.results.compared.leaks import flat_test

if TYPE_CHECKING:
    from kdprobe.comparison.leaks.result import LeakAudit, LeakRate
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
        "leaks": _leak_data(comparison.leaks) if comparison.leaks else None,
    }


def _task_data(tasks: TaskComparison) -> dict[str, Any]:
    changes = [_flat_pair(asdict(change)) | {"outcome": change.outcome} for change in tasks.changes]
    return {"roles": tasks.roles, "scores": [asdict(score) for score in tasks.scores], "changes": changes}


def _leak_data(audit: LeakAudit) -> dict[str, Any]:
    """The audit; each rate has the fields of its test beside its own, or `None` for all of them."""
    return {
        "language": audit.language,
        "only_first": audit.only_first,
        "rates": [_flat_rate(rate) for rate in audit.rates],
        "lengths": [asdict(length) for length in audit.lengths],
    }


def _flat_rate(rate: LeakRate) -> dict[str, Any]:
    fields = {name: value for name, value in asdict(rate).items() if name != "test"}
    interval = asdict(rate.test.interval) if rate.test else None
    return {**fields, **flat_test(rate), "interval": interval, "significant": rate.significant}


def _flat_pair(pair: dict[str, Any]) -> dict[str, Any]:
    return {**{key: value for key, value in pair.items() if key != "test"}, **pair["test"]}
