"""`kdprobe store`, with one file per command."""

from __future__ import annotations

import click

from kdprobe.cli.store.carry import exporting, importing
from kdprobe.cli.store.listing import listing
from kdprobe.cli.store.prune import pruning
from kdprobe.cli.store.verify import verify

EPILOG = """\b
Examples:
  kdprobe store list                list contents and which runs need them
  kdprobe store verify              read every file and report damage
  kdprobe store verify --repair     set damaged stages aside, to be recreated
  kdprobe store prune --dry-run     only show what would be removed
  kdprobe store export RUN run.tar  write a run and its stages to one file
  kdprobe store import run.tar      import it into another store
"""


@click.group(epilog=EPILOG)
def command() -> None:
    """List the store's contents, check them, remove what no run needs, and move runs between machines."""


command.add_command(listing)
command.add_command(verify)
command.add_command(pruning)
command.add_command(exporting)
command.add_command(importing)
