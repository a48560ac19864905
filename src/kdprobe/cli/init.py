"""`kdprobe init`."""

from __future__ import annotations

from pathlib import Path

import click

from kdprobe.cli.options import quiet_option
from kdprobe.errors import UsageError


@click.command()
@click.argument("file", required=False, type=click.Path(dir_okay=False, path_type=Path))
@quiet_option
def command(file: Path | None) -> None:
    """Write an annotated config as a starting point, to FILE or stdout.

    This is the config of the embedded experiment. An existing FILE is never overwritten.
    """
    from kdprobe.console import note
    from kdprobe.experiment.config import EMBEDDED

    text = EMBEDDED.read_text(encoding="utf-8").replace('name = "embedded"', 'name = "my-experiment"', 1)
    if file is None:
        click.echo(text, nl=False)
        return
    try:
        with file.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError as error:
        raise UsageError(f"{file} already exists.", "Choose another file, or delete this one first.") from error
    note(f"Wrote {file}. Next: kdprobe plan {file}")
