"""`kdprobe tune`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from kdprobe.api.tune import tune
from kdprobe.cli.options import calls, json_option, plugin_options, store_option

EPILOG = """\b
Examples:
  kdprobe tune mine.toml                              20 trials, or as [tune] says
  kdprobe tune mine.toml --trials 40                  go on to 40 in all
  kdprobe tune mine.toml --out tuned.toml             and write the config
  kdprobe run tuned.toml                              what it is worth: the test problems
"""


@calls(tune)
@click.command(epilog=EPILOG)
@click.argument("config", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--trials", type=click.IntRange(min=1), help="Trials in all, those of earlier calls included.")
@click.option("--by", type=click.Choice(["log-p-gold-value", "accuracy"]), help="What decides, on validation problems.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write CONFIG with the best options here.")
@store_option
@plugin_options
@json_option
def command(as_json: bool, config: Path, **given: Any) -> None:
    """Search the distiller's options: temperature, alpha, learning rate, LoRA rank, divergence.

    Every trial distils a student and examines it on validation problems. These come from the transfer split, right
    after the problems that are trained on; the test problems take no part. The section [tune] of CONFIG says how many,
    how long and what is varied. After an interruption the same command goes on.
    """
    from kdprobe.cli.show.tuning import show_tuning
    from kdprobe.console import note

    result = tune(config, **given)
    if as_json:
        click.echo(result.to_json())
        return
    show_tuning(result.details)
    if result.out:
        note(f"Wrote {result.out}. Next: kdprobe run {result.out}")
