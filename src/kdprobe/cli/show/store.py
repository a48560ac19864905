"""The content of a store, in the terminal and as JSON on stdout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kdprobe.cli.show.tables import new_table, print_table, sentence_list
from kdprobe.console.streams import out, plain
from kdprobe.experiment.integrity.upkeep import RECORD
from kdprobe.words import counted

if TYPE_CHECKING:
    from kdprobe.experiment.integrity.prune import Unneeded
    from kdprobe.experiment.integrity.verify import Entry


def entry_data(entry: Entry, sizes: Mapping[str, tuple[int, int]] | None = None) -> dict[str, Any]:
    """A stage or a record as plain data.

    Args:
        entry: The stage or record.
        sizes: For records: the size of each run's stages, and of those that only it needs.
    """
    data = {
        "kind": entry.kind,
        "name": entry.name,
        "path": entry.path,
        "bytes": entry.size,
        "runs": entry.runs,
        "damage": entry.faults,
        "checksums": entry.checksums,
        "moved": entry.moved,
    }
    if sizes is None or entry.kind != "run":
        return data
    needed, own = sizes[entry.name]
    return {**data, "stages_bytes": needed, "own_stages_bytes": own}


def run_sizes(entries: Sequence[Entry]) -> dict[str, tuple[int, int]]:
    """For each run, the size of the stages that it needs, and of those that no other run needs, in bytes."""
    stages = [entry for entry in entries if entry.kind != "run"]
    return {
        run: (
            sum(stage.size for stage in stages if run in stage.runs),
            sum(stage.size for stage in stages if stage.runs == (run,)),
        )
        for run in dict.fromkeys(entry.name for entry in entries if entry.kind == "run")
    }


def show_entries(entries: Sequence[Entry]) -> None:
    """Prints a row per stage and record, one per run, and the total."""
    table = new_table("The store", "kind", "name", "folder", "size", "runs")
    for entry in entries:
        runs = ", ".join(entry.runs) or "none"
        table.add_row(plain(entry.kind), plain(entry.name), entry.path.name, size(entry.size), plain(runs))
    print_table(table)
    if sizes := run_sizes(entries):
        runs_table = new_table("Runs", "run", "finished", "its stages", "needed by no other run")
        finished = {entry.name for entry in entries if entry.path.name == RECORD}
        for run, (needed, own) in sizes.items():
            runs_table.add_row(plain(run), "yes" if run in finished else "no", size(needed), size(own))
        print_table(runs_table)
    unneeded = [entry for entry in entries if not entry.runs]
    freed = size(sum(entry.size for entry in unneeded))
    waste = f"{len(unneeded)} of the stages ({freed}) {'is' if len(unneeded) == 1 else 'are'} needed by no run"
    total = size(sum(entry.size for entry in entries))
    out().print(f"{total} in total; {waste if unneeded else 'every stage is needed by a run'}.")
    _show_faults(entries)


def unneeded_data(item: Unneeded, *, removed: bool) -> dict[str, Any]:
    """Something that no run needs, as plain data."""
    return {
        "kind": item.kind,
        "name": item.name,
        "path": item.path,
        "bytes": item.size,
        "reason": item.reason,
        "removed": removed,
    }


def show_unneeded(items: Sequence[Unneeded]) -> None:
    """Prints what no run needs, with sizes."""
    if items:
        table = new_table("Not needed", "kind", "name", "folder", "size", "why")
        for item in items:
            table.add_row(
                plain(item.kind), plain(item.name), plain(item.path.name), size(item.size), plain(item.reason)
            )
        print_table(table)
    out().print(f"{len(items)} in total ({size(sum(item.size for item in items))}).")


def show_damage(entries: Sequence[Entry]) -> None:
    """Prints what is damaged, and how much was checked."""
    _show_faults(entries)
    damaged = sum(bool(entry.faults) for entry in entries)
    checked = counted(len(entries), "stage or record", "stages and records")
    out().print(f"Intact: {len(entries) - damaged} of {checked}.")
    if older := sum(not entry.checksums for entry in entries):
        which = "1 stage is" if older == 1 else f"{older} stages are"
        out().print(f"{which} from an earlier version of kdprobe, so only sizes could be checked.")


def size(count: int) -> str:
    """A readable number of bytes."""
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
