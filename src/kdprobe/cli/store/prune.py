"""`kdprobe store prune`."""

from __future__ import annotations

import sys

import click

from kdprobe.cli.options import json_option, quiet_option, store_option
from kdprobe.cli.show.store import show_unneeded, size, unneeded_data
from kdprobe.cli.store.root import existing
from kdprobe.errors import UsageError


@click.command("prune")
@click.option("--dry-run", is_flag=True, help="Show what would be removed without removing anything.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@store_option
@quiet_option
@json_option
def pruning(dry_run: bool, yes: bool, store: str, as_json: bool) -> None:
    """Remove everything that no run needs.

    This covers stages, unfinished work, and damaged stages that were set aside. Unfinished runs keep the stages they
    need. Stages of `kdprobe eval` and `kdprobe tune` belong to no run, so they are also removed. To remove a run and
    the stages that only it needs, first delete the run's folder.
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
            raise UsageError(
                "Nothing was removed, because there is no terminal at which to ask for confirmation.",
                "Add --yes to remove, or --dry-run to preview.",
            )
        total = size(sum(item.size for item in found))
        these = "this item" if len(found) == 1 else f"these {len(found)} items"
        if not click.confirm(f"Permanently remove {these} ({total})?", err=True):
            note("Nothing was removed.")
            return
    removed = [] if dry_run else prune(root, found)
    if as_json:
        print_json({"unneeded": [unneeded_data(item, removed=item in removed) for item in found]})
    elif removed:
        note(f"Removed {len(removed)} of {len(found)} ({size(sum(item.size for item in removed))}).")
