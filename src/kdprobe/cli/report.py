"""`kdprobe report`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from kdprobe.api.compare import compare
from kdprobe.api.run import load_run
from kdprobe.api.session import open_store
from kdprobe.cli.complete.runs import runs as names_of_runs
from kdprobe.cli.inputs import fail_where_found, strict_option
from kdprobe.cli.options import (
    baseline_option,
    calls,
    json_option,
    plugin_options,
    quiet_option,
    store_option,
)
from kdprobe.errors import UsageError

PAGE_OF_SEVERAL = "compared.html"


@calls(load_run)
@click.command()
@click.argument("runs", nargs=-1, metavar="[RUN]...", shell_complete=names_of_runs)
@baseline_option
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE.html",
    help="Where to write the page that compares several runs; by default, "
    f"{PAGE_OF_SEVERAL} in the first run's folder.",
)
@strict_option
@store_option
@plugin_options
@quiet_option
@json_option
def command(
    as_json: bool, strict: bool, runs: tuple[str, ...], baseline: str | None, out: Path | None, **given: Any
) -> None:
    """Regenerate a run's report page and show its tables, or compare several runs on one page.

    A unique prefix of a run's name is enough. Without RUN, the newest run is used. With several runs, each arm is
    compared with the arm of the same strategy in the first run, or with the run or arm that --baseline names.
    """
    from kdprobe.cli.show.comparison import show_comparison
    from kdprobe.cli.show.run import show_results
    from kdprobe.console import note
    from kdprobe.experiment.results import load_results

    if len(runs) > 1:
        first = load_results(open_store(given["store"]), runs[0])
        page = out or first.folder / PAGE_OF_SEVERAL
        compared = compare(*runs, baseline=baseline or first.run, out=page, **given)
        if as_json:
            click.echo(compared.to_json())
        else:
            show_comparison(compared.comparison)
            note(f"Report: {page}")
        fail_where_found(compared.findings, strict=strict)
        return
    if baseline or out:
        raise UsageError("--baseline and --out are for several runs.", "Name at least two runs.")
    result = load_run(*runs, **given)
    page = result.report()
    if as_json:
        click.echo(result.to_json())
    else:
        show_results(result.results, result.comparison)
        note(f"Report: {page}")
    fail_where_found(result.findings, strict=strict)
