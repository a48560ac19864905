"""`kdprobe plan`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from kdprobe.cli.inputs import open_host
from kdprobe.cli.options import full_option, json_option, plugin_options, store_option


@click.command()
@click.argument("config", required=False, type=click.Path(dir_okay=False, path_type=Path))
@full_option
@store_option
@plugin_options
@json_option
def command(config: Path | None, full: bool, store_folder: str, as_json: bool) -> None:
    """Show which stages of an experiment are there and which would be made. Nothing is computed."""
    import torch

    from kdprobe.cli.show.run import show_plan
    from kdprobe.cli.show.tables import print_json
    from kdprobe.console import note
    from kdprobe.experiment.load_config import load_experiment
    from kdprobe.experiment.plan import make_plan
    from kdprobe.experiment.run import older_sentence, set_threads
    from kdprobe.experiment.stages.distill import adapted_modules
    from kdprobe.experiment.store import Store

    host = open_host()
    experiment = load_experiment(config, host, full=full)
    set_threads(experiment.threads)
    plan = make_plan(experiment, host)
    store, adapters = Store(Path(store_folder)), adapted_modules(plan.stages)
    stages = [
        {
            "kind": stage.kind,
            "name": stage.name,
            "key": stage.key,
            "status": store.status(stage),
        }
        for stage in plan.stages
    ]
    if as_json:
        print_json(
            {
                "run": plan.run,
                "cautions": plan.cautions,
                "adapters": adapters,
                "findings": [asdict(finding) for finding in plan.findings],
                "threads": torch.get_num_threads(),
                "stages": stages,
                "older_stages": store.older_stages(),
            }
        )
    else:
        show_plan(plan, stages, adapters, threads=torch.get_num_threads())
        if older := store.older_stages():
            note(older_sentence(older))
