"""`kdprobe store list` and `kdprobe store verify`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kdprobe.cli.options import json_option, store_option
from kdprobe.errors import KdprobeError, UsageError

if TYPE_CHECKING:
    from kdprobe.experiment.integrity.verify import Entry

EPILOG = """\b
Examples:
  kdprobe store list                what is there, how large it is, and which runs need it
  kdprobe store verify              read every file, and name what is not what was written
  kdprobe store verify --repair     move that out of the way; the next run makes it again
"""


@click.group(epilog=EPILOG)
def command() -> None:
    """List what the store holds, and check that it is what was written."""


@command.command("list")
@store_option
@json_option
def list_(store_folder: str, as_json: bool) -> None:
    """List stages and runs, with their sizes and the runs that need them."""
    from kdprobe.cli.show.store import show_entries
    from kdprobe.cli.show.tables import print_json
    from kdprobe.experiment.integrity.verify import entries

    found = entries(_root(store_folder))
    if as_json:
        print_json([_data(entry) for entry in found])
    else:
        show_entries(found)


@command.command()
@click.option("--repair", is_flag=True, help="Move what is damaged out of the way; the next run makes it again.")
@store_option
@json_option
def verify(repair: bool, store_folder: str, as_json: bool) -> None:
    """Read every file of every stage, and every run's record, and name those that are not what was written.

    Exits with 1 where there are some that --repair did not move away.
    """
    from kdprobe.cli.show.store import show_damage
    from kdprobe.cli.show.tables import print_json
    from kdprobe.experiment.integrity.verify import entries
    from kdprobe.experiment.integrity.verify import repair as move_away
    from kdprobe.experiment.store import Store

    root = _root(store_folder)
    if repair:
        Store(root).prepare()
    found = [
        replace(entry, moved=move_away(root, entry)) if repair and entry.faults else entry
        for entry in entries(root, contents=True)
    ]
    if as_json:
        print_json([_data(entry) for entry in found])
    else:
        show_damage(found)
    damaged = [entry for entry in found if entry.faults]
    if damaged and not repair:
        raise KdprobeError(
            f"{len(damaged)} of {len(found)} stages and records are damaged.",
            "`kdprobe store verify --repair` moves them away; the next `kdprobe run` makes them again.",
        )


def _root(folder: str) -> Path:
    root = Path(folder)
    if not root.is_dir():
        raise UsageError(f"There is no store {root}.", "Name one with --store.")
    return root


def _data(entry: Entry) -> dict[str, Any]:
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
