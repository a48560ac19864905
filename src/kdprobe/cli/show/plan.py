"""Plans in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdprobe.cli.show.bill import show_bill
from kdprobe.cli.show.store import size
from kdprobe.cli.show.tables import new_table, print_table, sentence_list
from kdprobe.cli.show.tasks import show_retention_power
from kdprobe.console.streams import out, plain
from kdprobe.distill.targets import adapters_sentence
from kdprobe.words import counted, duration

if TYPE_CHECKING:
    from kdprobe.api.plan import PlanResult
    from kdprobe.experiment.foresight.power import Power


def show_plan(result: PlanResult, free: int | None) -> None:
    """Prints a plan: findings, stages, what they would take and could show, and what their keys depend on.

    Args:
        result: The plan.
        free: The free space on the store's disk in bytes, if known.
    """
    sentence_list("Cautions", result.cautions)
    sentence_list("Warnings", [str(finding) for finding in result.findings])
    stages, missing = result.stage_rows, [stage for stage in result.stage_rows if stage["status"] != "done"]
    judged = result.outlook.known > 0
    table = new_table(f"Run {result.run}", "stage", "name", "status", *(["time", "disk"] if judged else []))
    for stage in stages:
        seconds = stage["estimated_seconds"]
        takes = ["unknown"] * 2 if seconds is None else [duration(seconds), size(stage["estimated_bytes"])]
        table.add_row(
            stage["kind"], plain(stage["name"]), stage["status"], *(takes if judged and stage in missing else [])
        )
    print_table(table)
    done = len(stages) - len(missing)
    are = "is" if done == 1 else "are"
    out().print(f"{done} of {len(stages)} stages {are} already done; {len(missing)} would run.")
    if missing:
        show_bill(result, free)
    if result.power:
        show_power(result.power)
    show_retention_power(result.details.retention)
    for distiller, modules in result.adapters.items():
        out().print(plain(adapters_sentence(distiller, modules)))
    out().print(
        f"Finished stages are reused only with the same number of CPU threads (now {result.threads}); to keep that "
        "number constant, set `threads` in [resources]."
    )


def show_power(power: Power) -> None:
    """Prints the smallest differences that the planned problems and seeds could show."""
    students, strategies = "two students", f"two strategies, {power.seeds} seeds"
    table = new_table(
        f"Smallest difference that {counted(power.problems, 'test problem')} could detect",
        "solved by only one", students, *([strategies] if power.tests_strategies else []),
    )  # fmt: skip
    for row in power.detectable:
        found = (row.students, row.strategies) if power.tests_strategies else (row.students,)
        cells = ["none" if least is None else f"{least * 100:.1f} points" for least in found]
        table.add_row(f"{row.share:.0%} of problems", *cells)
    print_table(table)
    level = "a two-sided level of 5%" + (f" over {power.comparisons} comparisons" if power.comparisons > 1 else "")
    seeds = (
        "For strategies, the estimate assumes that seeds add no variation of their own; if they do, only larger "
        "differences can be detected."
        if power.tests_strategies
        else "With fewer than 3 seeds, a difference says something about these students, not about strategies."
    )
    several = (
        f" These numbers are for one answer per problem. Means over {power.samples} samples vary less, so smaller "
        "differences may be detectable; how much smaller depends on how often answers to the same problem differ."
        if power.samples > 1
        else ""
    )
    out().print(
        f"With 80% power at {level} ({power.family}, McNemar's exact test). The share of problems that only one of two "
        f"students solves is unknown before the run, so three shares are assumed. {seeds}{several}"
    )
