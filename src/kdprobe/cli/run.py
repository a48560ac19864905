"""`kdprobe run`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from kdprobe.api.run import run_launched
from kdprobe.cli.complete.plugins import provided
from kdprobe.cli.inputs import fail_where_found, strict_option
from kdprobe.cli.options import (
    calls,
    full_option,
    json_option,
    plugin_options,
    quiet_option,
    settings_option,
    store_option,
)


@calls(run_launched)
@click.command()
@click.argument("config", required=False, type=click.Path(dir_okay=False, path_type=Path))
@full_option
@strict_option
@click.option("-j", "--jobs", type=click.IntRange(1, 4096), help="Run up to N stages at the same time.", metavar="N")
@click.option(
    "--executor",
    shell_complete=provided("executors"),
    show_default=True,
    help="What runs the stages: local, or an executor from a plugin.",
)
@settings_option("the executor")
@click.option(
    "--only", metavar="STAGE", help='Run only this stage, given by kind and name ("distill unprimed") or by key.'
)
@store_option
@plugin_options
@quiet_option
@json_option
def command(as_json: bool, strict: bool, config: Path | None, **given: Any) -> None:
    """Run an experiment, or resume it.

    Without CONFIG, run the small experiment that ships with kdprobe, `embedded`, offline on a CPU.

    Finished stages are kept in the store and never run twice. After an interruption or a change to the config, rerun
    the same command.
    """
    from kdprobe.cli.show.run import show_results
    from kdprobe.console import note

    result = run_launched(config, **given)
    if result is None:  # a process that only helps the main one, or a single stage
        return
    if as_json:
        click.echo(result.to_json())
    else:
        show_results(result.results, result.comparison)
        note(f"Report: {result.page}")
    fail_where_found(result.findings, strict=strict)
