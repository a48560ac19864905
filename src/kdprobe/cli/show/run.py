"""Runs and plans in the terminal."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kdprobe.cli.show.comparison import comparison_tables, show_absent
from kdprobe.cli.show.fidelity import fidelity_tables
from kdprobe.cli.show.scores import show_findings
from kdprobe.cli.show.tables import new_table, print_table, sentence_list
from kdprobe.console.streams import out, plain

if TYPE_CHECKING:
    from kdprobe.comparison.result import Comparison
    from kdprobe.experiment.results import Results


def show_results(results: Results, comparison: Comparison) -> None:
    """Prints the tables of a run."""
    sentence_list("Cautions", results.record.get("cautions", []))
    for table in fidelity_tables(results.fidelity):
        print_table(table)
    for table in comparison_tables(comparison):
        print_table(table)
    show_analyses({analysis.name: analysis.statements for analysis in results.analyses})
    show_absent(comparison.absent)
    show_findings(comparison.findings)
    taught = any(arm.strategy for arm in comparison.arms)
    question = "Did priming make a better student?" if taught else "Which student solves more problems?"
    sentence_list(question, comparison.verdict)


def show_analyses(statements: Mapping[str, Sequence[str]]) -> None:
    """Prints the statements of each analysis."""
    for name, sentences in statements.items():
        sentence_list(f"Inside the students ({name})", sentences)


def show_runs(rows: Sequence[dict[str, Any]]) -> None:
    """Prints all runs: when they finished, problems, seeds and accuracies."""
    if not rows:
        out().print("There are no finished runs yet; start one with `kdprobe run`.")
        return
    table = new_table("Runs, newest first", "run", "finished", "problems", "seeds", "accuracy")
    for row in rows:
        known = row["accuracy"].items()
        scores = "\n".join(f"{arm} without answers" if share is None else f"{arm} {share:.1%}" for arm, share in known)
        problems = "\n".join(f"{count} {split}" for split, count in (row["problems"] or {}).items())
        seeds = ", ".join(map(str, row["seeds"] or ()))
        cells = (row["run"], _local_time(row["finished"]), problems, seeds, row["damage"] or scores)
        table.add_row(*map(plain, cells))
    print_table(table)
    cautioned: dict[str, list[str]] = {}
    for row in rows:
        for caution in row["cautions"]:
            cautioned.setdefault(caution, []).append(row["run"])
    for caution, runs in cautioned.items():
        sentence_list(f"About {', '.join(runs)}", [caution])


def _local_time(moment: str | None) -> str:
    """An ISO timestamp as local date and time, to the minute; "unknown" if it was not recorded."""
    return f"{dt.datetime.fromisoformat(moment).astimezone():%Y-%m-%d %H:%M}" if moment else "unknown"
