"""`kdprobe store`: one file for each of its commands."""

from __future__ import annotations

import click

from kdprobe.cli.store.carry import exporting, importing
from kdprobe.cli.store.listing import listing
from kdprobe.cli.store.prune import pruning
from kdprobe.cli.store.verify import verify

EPILOG = """\b
Examples:
  kdprobe store list                what is there, how large it is, and which runs need it
  kdprobe store verify              read every file, and name what is not what was written
  kdprobe store verify --repair     move that out of the way; the next run makes it again
  kdprobe store prune --dry-run     show what no run needs; without --dry-run, remove it
  kdprobe store export RUN run.tar  write a run with all its stages into one file
  kdprobe store import run.tar      take it into the store of another machine
"""


@click.group(epilog=EPILOG)
def command() -> None:
    """List what the store holds, check it, remove what no run needs, and carry runs to other machines."""


command.add_command(listing)
command.add_command(verify)
command.add_command(pruning)
command.add_command(exporting)
command.add_command(importing)
