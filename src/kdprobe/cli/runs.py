"""`kdprobe runs`."""

from __future__ import annotations

from pathlib import Path

import click

from kdprobe.cli.options import json_option, store_option


@click.command()
@store_option
@json_option
def command(store_folder: str, as_json: bool) -> None:
    """List finished runs, newest first, with the accuracy of each arm."""
    from kdprobe.cli.show.run import show_runs
    from kdprobe.cli.show.tables import print_json
    from kdprobe.experiment.results import load_results
    from kdprobe.experiment.store import Store

    store = Store(Path(store_folder))
    rows = []
    for name in store.runs():
        results = load_results(store, name)
        rows.append(
            {
                "run": name,
                "accuracy": {arm.name: arm.accuracy for arm in results.arms},
                "cautions": results.record.get("cautions", []),
            }
        )
    if as_json:
        print_json(rows)
    else:
        show_runs(rows)
