"""`kdprobe report`."""

from __future__ import annotations

from typing import Any

import click

from kdprobe.api.run import load_run
from kdprobe.cli.complete.runs import runs
from kdprobe.cli.inputs import fail_where_found
from kdprobe.cli.options import calls, json_option, plugin_options, quiet_option, store_option, strict_option


@calls(load_run)
@click.command()
@click.argument("run", required=False, shell_complete=runs)
@strict_option
@store_option
@plugin_options
@quiet_option
@json_option
def command(as_json: bool, strict: bool, run: str | None, **given: Any) -> None:
    """Rewrite a run's page and show its tables.

    A unique prefix of the run's name is enough. Without RUN: the newest run.
    """
    from kdprobe.cli.show.run import show_results
    from kdprobe.console import note

    result = load_run(run, **given)
    page = result.report()
    if as_json:
        click.echo(result.to_json())
    else:
        show_results(result.results, result.comparison)
        note(f"Report: {page}")
    fail_where_found(result.findings, strict=strict)
