"""What a store holds, in the terminal and as JSON on stdout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kdprobe.cli.show.tables import new_table, sentence_list
from kdprobe.console import out, plain

if TYPE_CHECKING:
    from kdprobe.experiment.integrity.verify import Entry


def entry_data(entry: Entry) -> dict[str, Any]:
    """A stage or a record, for machines."""
    return {
        "kind": entry.kind,
        "name": entry.name,
        "path": entry.path,
        "bytes": entry.size,
        "runs": entry.runs,
        "damage": entry.faults,
        "checksums": entry.checksums,
        "moved": entry.moved,
    }


def show_entries(entries: Sequence[Entry]) -> None:
    """A row per stage and run, and the sum."""
    table = new_table("The store", "kind", "name", "folder", "size", "runs")
    for entry in entries:
        runs = ", ".join(entry.runs) or "none"
        table.add_row(plain(entry.kind), plain(entry.name), entry.path.name, size(entry.size), plain(runs))
    out().print(table)
    unneeded = [entry for entry in entries if not entry.runs]
    out().print(
        f"{size(sum(entry.size for entry in entries))} in all; no finished run needs {len(unneeded)} of the stages "
        f"({size(sum(entry.size for entry in unneeded))})."
    )
    _show_faults(entries)


def show_damage(entries: Sequence[Entry]) -> None:
    """What is damaged, and how much was read."""
    _show_faults(entries)
    damaged = sum(bool(entry.faults) for entry in entries)
    out().print(f"{len(entries) - damaged} of {len(entries)} stages and records are what was written.")
    if older := sum(not entry.checksums for entry in entries):
        out().print(f"Of {older} stages only sizes could be checked: an earlier version of kdprobe made them.")


def size(count: int) -> str:
    """Bytes as people read them."""
    value, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:  # noqa: PLR2004
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"


def _show_faults(entries: Sequence[Entry]) -> None:
    sentences = []
    for entry in entries:
        if entry.faults:
            needed = f"; needed by {', '.join(entry.runs)}" if entry.runs and entry.kind != "run" else ""
            moved = f"; moved to {entry.moved}" if entry.moved else ""
            sentences.append(f"{entry.kind} {entry.name or entry.path.name}: {', '.join(entry.faults)}{needed}{moved}")
    sentence_list("Damaged", sentences)
