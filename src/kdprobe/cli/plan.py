"""`kdprobe plan`."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import click

from kdprobe.api.plan import plan
from kdprobe.cli.options import calls, full_option, json_option, plugin_options, quiet_option, store_option


@calls(plan)
@click.command()
@click.argument("config", required=False, type=click.Path(dir_okay=False, path_type=Path))
@full_option
@store_option
@plugin_options
@quiet_option
@json_option
def command(as_json: bool, config: Path | None, **given: Any) -> None:
    """Preview a run: its stages, what they cost, and the smallest detectable difference.

    No stage is run, and no weights are loaded. Tokens, time, memory and disk space are estimated from the shapes of the
    models, the devices in [resources], and the measured rates of finished stages in the store. The smallest detectable
    difference depends on how many problems are solved by only one of two students; because that is unknown before the
    run, the plan shows the difference for three assumed shares of such problems.
    """
    result = plan(config, **given)
    if as_json:
        click.echo(result.to_json())
        return
    from kdprobe.cli.show.plan import show_plan
    from kdprobe.console import note
    from kdprobe.experiment.run import older_sentence

    show_plan(result, _free(Path(given["store"])))
    if result.older_stages:
        note(older_sentence(result.older_stages))


def _free(store: Path) -> int | None:
    """Free space on the disk of a store that may not exist yet, in bytes; `None` if it cannot be determined."""
    existing = next((folder for folder in (store, *store.absolute().parents) if folder.is_dir()), None)
    try:
        return shutil.disk_usage(existing).free if existing else None
    except OSError:
        return None
