"""`kdprobe run`."""

from __future__ import annotations

from pathlib import Path

import click

from kdprobe.cli.inputs import fail_where_found, open_host
from kdprobe.cli.options import full_option, json_option, plugin_options, store_option, strict_option


@click.command()
@click.argument("config", required=False, type=click.Path(dir_okay=False, path_type=Path))
@full_option
@strict_option
@store_option
@plugin_options
@json_option
def command(config: Path | None, full: bool, strict: bool, store_folder: str, as_json: bool) -> None:
    """Run an experiment, or resume it. Without CONFIG: the embedded one, offline, on a CPU.

    Finished stages are kept in the store and never made twice; after an interruption, or a change of the config, run
    the same command again.
    """
    from kdprobe.cli.show.run import show_results, summary
    from kdprobe.cli.show.tables import print_json
    from kdprobe.console import note
    from kdprobe.experiment.load_config import load_experiment
    from kdprobe.experiment.plan import make_plan
    from kdprobe.experiment.results import comparison_of, load_results
    from kdprobe.experiment.run import run, set_threads
    from kdprobe.experiment.store import Store
    from kdprobe.models.processes import is_main
    from kdprobe.report.page import write_page

    host = open_host()
    experiment = load_experiment(config, host, full=full)
    store = Store(Path(store_folder))
    store.prepare()
    set_threads(experiment.threads)
    name = run(make_plan(experiment, host), store, host.notify)
    if not is_main():
        return
    results = load_results(store, name)
    compared = comparison_of(results, host.all("extractors"))
    page = write_page(results, compared)
    if as_json:
        print_json(summary(results, compared, page))
    else:
        show_results(results, compared)
        note(f"Report: {page}")
    fail_where_found(compared.findings, strict=strict)
