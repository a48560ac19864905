"""What a plan costs, in the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from kdprobe.cli.show.store import size
from kdprobe.cli.show.tables import new_table, print_table, sentence_list
from kdprobe.console.streams import out, plain
from kdprobe.words import counted, duration

if TYPE_CHECKING:
    from kdprobe.api.plan import PlanResult

_WHOLE_HOURS = 10
_BASES = {
    "like stages": "finished stages with the same options, in proportion to the number of problems",
    "rate": "the measured rates of finished stages with the same models",
    "shapes": "the shapes of the models and a table of devices",
}


def show_bill(result: PlanResult, free: int | None) -> None:
    """Prints what the missing stages would take, how that is known, and what does not fit.

    Args:
        result: The plan.
        free: The free space on the store's disk in bytes, if known.
    """
    outlook = result.outlook
    rows = [row for row in result.stage_rows if row["status"] != "done"]
    _table([row for row in rows if row["cost"]])
    sentence_list("What does not fit", result.bill.misfits)
    if not outlook.known:
        out().print("\nTime and disk: unknown.")
    else:
        least = "at least" if outlook.unknown else "about"
        unknown = f" {counted(outlook.unknown, 'stage')} cannot be estimated." if outlook.unknown else ""
        out().print(
            f"\nTime: {least} {duration(outlook.seconds)}, one stage after the other. "
            f"Disk: {least} {size(round(outlook.size))}.{unknown}"
        )
    for basis, words in _BASES.items():
        if count := sum(_basis(row) == basis for row in rows):
            out().print(f"{counted(count, 'stage')}: estimated from {words}.")
    for sentence in result.bill.assumptions:
        out().print(plain(sentence))
    if free is not None and outlook.size > free:
        out().print(f"Only {size(free)} of disk space is free, which is not enough.", style="bold")


def _basis(row: Mapping[str, Any]) -> str | None:
    if row["cost"]:
        return str(row["cost"]["basis"])
    return "like stages" if row["estimated_from"] else None


def _table(rows: list[dict[str, Any]]) -> None:
    """A row for each kind of stage and its devices, and one for all."""
    if not rows:
        return
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["kind"], row["cost"]["devices"]), []).append(row["cost"])
    table = new_table("Costs", "stages", "", "devices", "tokens", "device-hours", "memory each", "disk", "time")
    for (kind, devices), costs in groups.items():
        table.add_row(kind, str(len(costs)), plain(devices), *_cells(costs))
    if len(groups) > 1:
        table.add_row("all", str(len(rows)), "", *_cells([row["cost"] for row in rows]))
    print_table(table)


def _cells(costs: Iterable[Mapping[str, Any]]) -> list[str]:
    listed = [*costs]
    tokens, hours, disk, seconds = (
        sum(each[name] for each in listed) for name in ("tokens_read", "device_hours", "disk", "seconds")
    )
    tokens += sum(each["tokens_written"] for each in listed)
    memory = max(each["memory"] for each in listed)
    return [
        _many(tokens),
        _hours(hours),
        size(memory),
        size(disk),
        duration(seconds),
    ]


def _hours(hours: float) -> str:
    return f"{hours:,.0f}" if hours >= _WHOLE_HOURS else f"{hours:.2g}"


def _many(count: float) -> str:
    """A readable number of tokens."""
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= limit:
            return f"{count / limit:.1f} {unit}"
    return f"{count:.0f}"
