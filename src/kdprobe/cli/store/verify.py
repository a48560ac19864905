"""`kdprobe store verify`."""

from __future__ import annotations

from dataclasses import replace

import click

from kdprobe.cli.options import json_option, quiet_option, store_option
from kdprobe.cli.show.store import entry_data, show_damage
from kdprobe.cli.store.root import existing
from kdprobe.errors import KdprobeError
from kdprobe.words import counted


@click.command()
@click.option("--repair", is_flag=True, help="Set damaged stages aside; the next run recreates them.")
@store_option
@quiet_option
@json_option
def verify(repair: bool, store: str, as_json: bool) -> None:
    """Check every stored file and report damage.

    Exits with status 1 if damage remains; damage that --repair set aside does not count.
    """
    from kdprobe.cli.show.tables import print_json
    from kdprobe.experiment.integrity.verify import entries
    from kdprobe.experiment.integrity.verify import repair as move_away
    from kdprobe.experiment.store import Store

    root = existing(store)
    if repair:
        Store(root).prepare()
    found = [
        replace(entry, moved=move_away(root, entry)) if repair and entry.faults else entry
        for entry in entries(root, contents=True)
    ]
    if as_json:
        print_json([entry_data(entry) for entry in found])
    else:
        show_damage(found)
    damaged = sum(bool(entry.faults) for entry in found)
    if damaged and not repair:
        raise KdprobeError(
            f"Damaged: {damaged} of {counted(len(found), 'stage or record', 'stages and records')}.",
            "`kdprobe store verify --repair` sets aside what is damaged; the next `kdprobe run` recreates it.",
        )
