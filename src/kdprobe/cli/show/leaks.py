"""Traces of priming in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdprobe.cli.show.tables import new_table, points, share
from kdprobe.console.streams import plain

if TYPE_CHECKING:
    from rich.table import Table

    from kdprobe.comparison.leaks.result import LeakAudit


def leak_tables(audit: LeakAudit | None) -> list[Table]:
    """The rates that were compared, if any is significant; otherwise there is nothing to say."""
    if audit is None or not any(rate.significant for rate in audit.rates):
        return []
    from kdprobe.stats.p_values import p_text

    taught = any(rate.teacher is not None for rate in audit.rates)
    answers = "the first answer to each problem" if audit.only_first else "the answers"
    table = new_table(
        f"Traces of priming in {answers} ({audit.language} phrases; one-sided p, Holm)",
        "a - b", "trace", "a", "b", "points", "95% CI", "p (Holm)", *(["teacher"] if taught else []),
    )  # fmt: skip
    for rate in audit.rates:
        if rate.test is None or rate.p_holm is None:
            continue
        table.add_row(
            plain(f"{rate.name} - {rate.against}"),
            rate.kind,
            f"{rate.test.rate_a:.1%}",
            f"{rate.test.rate_b:.1%}",
            f"{rate.test.difference * 100:+.1f}",
            points(rate.test.interval, "+.1f"),
            p_text(rate.p_holm),
            *([share(rate.teacher)] if taught else []),
        )
    return [table]
