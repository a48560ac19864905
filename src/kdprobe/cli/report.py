"""`kdprobe report`."""

from __future__ import annotations

from pathlib import Path

import click

from kdprobe.cli.inputs import fail_where_found, open_host
from kdprobe.cli.options import json_option, plugin_options, store_option, strict_option
from kdprobe.errors import UsageError


@click.command()
@click.argument("run", required=False)
@strict_option
@store_option
@plugin_options
@json_option
def command(run: str | None, strict: bool, store_folder: str, as_json: bool) -> None:
    """Write a run's page again and show its tables.

    RUN may be the beginning of a name. Without RUN: the newest one.
    """
    from kdprobe.cli.show.run import show_results, summary
    from kdprobe.cli.show.tables import print_json
    from kdprobe.console import note
    from kdprobe.experiment.results import comparison_of, load_results
    from kdprobe.experiment.store import Store
    from kdprobe.report.page import write_page

    store = Store(Path(store_folder))
    if run is None:
        runs = store.runs()
        if not runs:
            raise UsageError(f"There is no finished run in {store.root}.", "`kdprobe run` makes one.")
        run = runs[0]
    results = load_results(store, run)
    compared = comparison_of(results, open_host().all("extractors"))
    page = write_page(results, compared)
    if as_json:
        print_json(summary(results, compared, page))
    else:
        show_results(results, compared)
        note(f"Report: {page}")
    fail_where_found(compared.findings, strict=strict)
