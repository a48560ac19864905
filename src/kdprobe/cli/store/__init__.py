"""`kdprobe store`: one file for each of its commands."""

from __future__ import annotations

import click

from kdprobe.cli.store.listing import listing
from kdprobe.cli.store.verify import verify

EPILOG = """\b
Examples:
  kdprobe store list                what is there, how large it is, and which runs need it
  kdprobe store verify              read every file, and name what is not what was written
  kdprobe store verify --repair     move that out of the way; the next run makes it again
"""


@click.group(epilog=EPILOG)
def command() -> None:
    """List what the store holds, and check that it is what was written."""


command.add_command(listing)
command.add_command(verify)
