"""`kdprobe runs`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from kdprobe.cli.options import json_option, store_option
from kdprobe.errors import KdprobeError


@click.command()
@store_option
@json_option
def command(store: str, as_json: bool) -> None:
    """List finished runs, newest first, with finish times, numbers of problems, seeds, and each arm's accuracy."""
    from kdprobe.cli.show.run import show_runs
    from kdprobe.cli.show.tables import print_json
    from kdprobe.experiment.results import load_results
    from kdprobe.experiment.store import Store

    opened = Store(Path(store))
    rows = []
    for name in opened.runs():
        row: dict[str, Any] = {"run": name, "finished": None, "problems": None, "seeds": None}
        row |= {"accuracy": {}, "cautions": [], "damage": None}
        try:
            results = load_results(opened, name)
        except KdprobeError as error:
            row["damage"] = str(error)
        else:
            record = results.record
            # Earlier versions did not record when a run finished.
            row["finished"] = record.get("finished")
            row["problems"] = {split: len(problems) for split, problems in record["problems"].items()}
            row["seeds"] = record["config"]["seeds"]
            row["accuracy"] = {arm.name: arm.accuracy for arm in results.arms}
            row["cautions"] = record.get("cautions", [])
        rows.append(row)
    if as_json:
        print_json(rows)
    else:
        show_runs(rows)
