"""`kdprobe store export` and `kdprobe store import`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from kdprobe.cli.complete.runs import runs
from kdprobe.cli.options import json_option, quiet_option, store_option
from kdprobe.cli.show.store import size
from kdprobe.cli.store.root import existing
from kdprobe.console import note
from kdprobe.words import counted


@click.command("export")
@click.argument("run", shell_complete=runs)
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@store_option
@quiet_option
@json_option
def exporting(run: str, file: Path, store: str, as_json: bool) -> None:
    """Write a finished run with all its stages into FILE, a tar archive.

    A unique prefix of the run's name is enough. The content of every file is checked as it is copied. The archive
    contains adapters, but no base models.
    """
    from kdprobe.cli.show.tables import print_json
    from kdprobe.experiment.archive.write import export_run
    from kdprobe.experiment.store import Store

    done = export_run(Store(existing(store)), run, file)
    if as_json:
        print_json(asdict(done))
    else:
        note(f"Wrote {done.run} with {counted(done.stages, 'stage')} to {done.file} ({size(done.size)}).")


@click.command("import", short_help="Import a run with all its stages from FILE.")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@store_option
@quiet_option
@json_option
def importing(file: Path, store: str, as_json: bool) -> None:
    """Import a run with all its stages from FILE, as written by `kdprobe store export`.

    Everything is checked before anything is added to the store. Stages that the store already has are left unchanged.
    Checksums detect damage, not forgery: import only from people whose results you trust.
    """
    from kdprobe.cli.show.tables import print_json
    from kdprobe.experiment.archive.read import import_run
    from kdprobe.experiment.store import Store

    done = import_run(Store(Path(store)), file)
    if as_json:
        print_json(asdict(done))
    else:
        note(f"Imported {done.run}: {counted(done.added, 'new stage')}, {done.known} already in the store.")
