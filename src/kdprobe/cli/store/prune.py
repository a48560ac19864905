"""`kdprobe store prune`."""

from __future__ import annotations

import sys

import click

from kdprobe.cli.options import json_option, store_option
from kdprobe.cli.show.store import show_unneeded, size, unneeded_data
from kdprobe.cli.store.root import existing
from kdprobe.errors import UsageError


@click.command("prune")
@click.option("--dry-run", is_flag=True, help="Show what would be removed, and remove nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@store_option
@json_option
def pruning(dry_run: bool, yes: bool, store: str, as_json: bool) -> None:
    """Remove what no run needs: stages, what was begun for them, and what was found damaged.

    Runs that have not finished need their stages, too. What `kdprobe eval` and the trials of `kdprobe tune` made
    belongs to no run. Delete the folder of a run first, and what only it needs goes as well.
    """
    from kdprobe.cli.show.tables import print_json
    from kdprobe.console import note
    from kdprobe.experiment.integrity.prune import prune, unneeded

    root = existing(store)
    found = unneeded(root)
    if not as_json:
        show_unneeded(found)
    if found and not dry_run and not yes:
        if not sys.stdin.isatty():
            raise UsageError("Nothing was removed, for nobody can be asked here.", "Add --yes, or --dry-run to look.")
        total = size(sum(item.size for item in found))
        if not click.confirm(f"Remove these {len(found)} ({total}) for good?", err=True):
            note("Nothing was removed.")
            return
    removed = [] if dry_run else prune(root, found)
    if as_json:
        print_json({"unneeded": [unneeded_data(item, removed=item in removed) for item in found]})
    elif removed:
        note(f"Removed {len(removed)} of {len(found)} ({size(sum(item.size for item in removed))}).")
