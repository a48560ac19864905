"""`kdprobe store export` and `kdprobe store import`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from kdprobe.cli.options import json_option, store_option
from kdprobe.cli.show.store import size
from kdprobe.cli.store.root import existing
from kdprobe.console import note


@click.command("export")
@click.argument("run")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@store_option
@json_option
def exporting(run: str, file: Path, store: str, as_json: bool) -> None:
    """Write a finished run with all its stages into FILE, a tar archive.

    RUN may be the beginning of a name. The content of every file is checked as it is copied. Models are not in it, only
    adapters.
    """
    from kdprobe.cli.show.tables import print_json
    from kdprobe.experiment.archive.write import export_run
    from kdprobe.experiment.store import Store

    done = export_run(Store(existing(store)), run, file)
    if as_json:
        print_json(asdict(done))
    else:
        note(f"Wrote {done.run} with {done.stages} stages to {done.file} ({size(done.size)}).")


@click.command("import")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@store_option
@json_option
def importing(file: Path, store: str, as_json: bool) -> None:
    """Take a run with all its stages from FILE, which `kdprobe store export` wrote, into the store.

    All of it is checked before the store has any of it. Stages that are in the store already are left alone. Checksums
    show damage, not who wrote a file: import from people whose numbers you would trust.
    """
    from kdprobe.cli.show.tables import print_json
    from kdprobe.experiment.archive.read import import_run
    from kdprobe.experiment.store import Store

    done = import_run(Store(Path(store)), file)
    if as_json:
        print_json(asdict(done))
    else:
        note(f"Imported {done.run}: {done.added} stages are new, {done.known} were in the store already.")
