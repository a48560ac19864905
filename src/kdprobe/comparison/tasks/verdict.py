"""What students retained and lost outside of the deciding task, in sentences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby

from kdprobe.comparison.tasks.retention import TaskChange
from kdprobe.stats.p_values import p_text
from kdprobe.words import counted


def task_verdict(changes: Sequence[TaskChange]) -> list[str]:
    """One sentence for each retention task and outcome."""
    judged = [change for change in changes if change.outcome]
    return [
        _SENTENCES[outcome](task, found)
        for task, members in groupby(judged, key=lambda change: change.task)
        for several in [list(members)]
        for outcome in ("lost", "not shown", "retained")
        if (found := [change for change in several if change.outcome == outcome])
    ]


def amount(value: float, unit: str) -> str:
    """A change in the unit of its metric, with its sign."""
    return f"{value * 100:+.1f} points" if unit == "points" else f"{value:+.3g}{f' {unit}' if unit else ''}"


def _retained(task: str, changes: Sequence[TaskChange]) -> str:
    first = changes[0]
    least = min(change.test.low for change in changes)
    bounds = "bounds" if len(changes) > 1 else "bound"
    above = " or higher" if len(changes) > 1 else ""
    return (
        f"Students that retained the score of {first.b!r} on {task}, to within the margin of {margin_text(first)} "
        f"({_documents(first)}): {_names(changes)} (one-sided 95% lower {bounds} of the change: "
        f"{amount(least, first.unit)}{above})."
    )


def _lost(task: str, changes: Sequence[TaskChange]) -> str:
    listed = "; ".join(
        f"{change.a!r} {amount(change.change, change.unit)} (one-sided 95% upper bound "
        f"{amount(change.test.high, change.unit)}, Holm-adjusted p = {p_text(change.p_holm or 0.0)})"
        for change in changes
    )
    return f"Students that fell below the score of {changes[0].b!r} on {task} ({_documents(changes[0])}): {listed}."


def _not_shown(task: str, changes: Sequence[TaskChange]) -> str:
    listed = "; ".join(f"{change.a!r} {amount(change.change, change.unit)} ({_bounds(change)})" for change in changes)
    return (
        f"On {task} ({_documents(changes[0])}, margin {margin_text(changes[0])}), neither retention nor a loss "
        f"was shown: {listed}."
    )


def _bounds(change: TaskChange) -> str:
    low, high = change.test.low, change.test.high
    if not math.isfinite(low) or not math.isfinite(high):
        return f"{_documents(change)}: too few for bounds"
    return f"{amount(low, change.unit)} to {amount(high, change.unit)}, both bounds one-sided 95%"


def _documents(change: TaskChange) -> str:
    return counted(change.test.n, "document")


def margin_text(change: TaskChange) -> str:
    """The margin in the unit of the metric."""
    return amount(change.margin or 0.0, change.unit).removeprefix("+")


def _names(changes: Sequence[TaskChange]) -> str:
    return ", ".join(repr(change.a) for change in changes)


_SENTENCES = {"retained": _retained, "lost": _lost, "not shown": _not_shown}
