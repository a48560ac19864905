"""Plans in the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from kdprobe.cli.show.tables import new_table, print_table, sentence_list
from kdprobe.console.streams import out, plain
from kdprobe.distill.targets import adapters_sentence
from kdprobe.words import counted

if TYPE_CHECKING:
    from kdprobe.experiment.foresight.power import Power
    from kdprobe.experiment.plan import Plan


def show_plan(plan: Plan, stages: Sequence[dict[str, str]], adapters: Mapping[str, str], *, threads: int) -> None:
    """Prints a plan's findings and stages, and the number of threads, which is part of the keys."""
    sentence_list("Cautions", plan.cautions)
    sentence_list("Warnings", [str(finding) for finding in plan.findings])
    table = new_table(f"Run {plan.run}", "stage", "of", "status")
    for stage in stages:
        table.add_row(stage["kind"], plain(stage["name"]), stage["status"])
    print_table(table)
    done = sum(stage["status"] == "done" for stage in stages)
    are = "is" if done == 1 else "are"
    out().print(f"{done} of {len(stages)} stages {are} already done; {len(stages) - done} would run.")
    if plan.power:
        show_power(plan.power)
    for distiller, modules in adapters.items():
        out().print(plain(adapters_sentence(distiller, modules)))
    out().print(f"Stage keys include the number of CPU threads ({threads}); set `threads` in the config to pin it.")


def show_power(power: Power) -> None:
    """Prints the smallest differences that the planned problems and seeds could show."""
    students, strategies = "two students", f"two strategies, {power.seeds} seeds"
    table = new_table(
        f"Smallest difference that {counted(power.problems, 'test problem')} could show",
        "solved by only one", students, *([strategies] if power.tests_strategies else []),
    )  # fmt: skip
    for row in power.detectable:
        found = (row.students, row.strategies) if power.tests_strategies else (row.students,)
        cells = ["none" if least is None else f"{least * 100:.1f} points" for least in found]
        table.add_row(f"{row.share:.0%} of problems", *cells)
    print_table(table)
    level = "two-sided 5%" + (f" over {power.comparisons} comparisons" if power.comparisons > 1 else "")
    seeds = (
        "For strategies, seeds are assumed to differ only by chance; if they differ more, only larger differences show."
        if power.tests_strategies
        else "With fewer than 3 seeds, a difference says something about these students, not about strategies."
    )
    out().print(
        f"With 80% power at {level} ({power.family}, McNemar's exact test). The share of problems that only one of two "
        f"students solves is unknown before the run, so three shares are assumed. {seeds}"
    )
