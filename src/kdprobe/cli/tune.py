"""`kdprobe tune`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from kdprobe.api.tune import tune
from kdprobe.cli.options import calls, json_option, plugin_options, quiet_option, store_option

EPILOG = """\b
Examples:
  kdprobe tune mine.toml                   20 trials, or as set in [tune]
  kdprobe tune mine.toml --trials 40       continue to 40 in total
  kdprobe tune mine.toml --out tuned.toml  also write the best config
  kdprobe run tuned.toml                   evaluate it on the test problems
"""


@calls(tune)
@click.command(epilog=EPILOG)
@click.argument("config", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--trials", type=click.IntRange(min=1), help="Total number of trials, including earlier ones.")
@click.option(
    "--by", type=click.Choice(["log-p-gold-value", "accuracy"]), help="What to optimise on the validation problems."
)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write CONFIG with the best options here.")
@store_option
@plugin_options
@quiet_option
@json_option
def command(as_json: bool, config: Path, **given: Any) -> None:
    """Tune the distiller's options: temperature, alpha, learning rate, LoRA rank, divergence.

    Every trial distils a student and evaluates it on validation problems: the next problems of the training
    ("transfer") split after those used for training. The test problems are not used. The [tune] section of CONFIG
    sets the numbers of trials and validation problems, and which options vary. After an interruption, rerun the same
    command to resume.
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
