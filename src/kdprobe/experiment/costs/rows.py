"""The stages of a plan as rows: whether they are done, and what the others take."""

from __future__ import annotations

from typing import Any

from kdprobe.experiment.costs.bill import Bill, make_bill
from kdprobe.experiment.foresight.estimates import Estimate, Estimates, Outlook, outlook
from kdprobe.experiment.plan import Plan
from kdprobe.experiment.store import Store


def planned_rows(plan: Plan, store: Store) -> tuple[list[dict[str, Any]], Outlook, Bill]:
    """A row for each stage, ready for JSON, what the missing ones take together, and the bill.

    Args:
        plan: The plan.
        store: The store, in which stages may be finished.
    """
    manifests = [*store.manifests()]
    estimates = Estimates(manifests)
    bill = make_bill(plan, store, manifests, estimates)
    rows: list[dict[str, Any]] = []
    expected: list[Estimate | None] = []
    for stage in plan.stages:
        status = store.status(stage)
        estimate = (bill.estimate(stage) or estimates.of(stage)) if status != "done" else None
        expected += [estimate] if status != "done" else []
        rows.append(
            {
                "kind": stage.kind,
                "name": stage.name,
                "key": stage.key,
                "status": status,
                "estimated_seconds": estimate and estimate.seconds,
                "estimated_bytes": estimate and round(estimate.size),
                "estimated_from": estimate.basis if estimate else 0,
                "cost": bill.of(stage) if status != "done" else None,
            }
        )
    return rows, outlook(expected), bill
