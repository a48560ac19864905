"""`kdprobe store list`."""

from __future__ import annotations

import click

from kdprobe.cli.options import json_option, store_option
from kdprobe.cli.show.store import entry_data, run_sizes, show_entries
from kdprobe.cli.store.root import existing


@click.command("list", short_help="List stages and runs with their sizes.")
@store_option
@json_option
def listing(store: str, as_json: bool) -> None:
    """List stages and runs with their sizes, and which runs need each stage."""
    from kdprobe.cli.show.tables import print_json
    from kdprobe.experiment.integrity.verify import entries

    found = entries(existing(store))
    if as_json:
        sizes = run_sizes(found)
        print_json([entry_data(entry, sizes) for entry in found])
    else:
        show_entries(found)
