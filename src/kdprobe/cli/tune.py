"""`kdprobe tune`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from kdprobe.cli.inputs import open_host
from kdprobe.cli.options import json_option, plugin_options, store_option
from kdprobe.errors import UsageError

if TYPE_CHECKING:
    from kdprobe.experiment.config import Experiment

EPILOG = """\b
Examples:
  kdprobe tune mine.toml                              20 trials, or as [tune] says
  kdprobe tune mine.toml --trials 40                  go on to 40 in all
  kdprobe tune mine.toml --out tuned.toml             and write the config
  kdprobe run tuned.toml                              what it is worth: the test problems
"""


@click.command(epilog=EPILOG)
@click.argument("config", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--trials", type=click.IntRange(min=1), help="Trials in all, those of earlier calls included.")
@click.option("--by", type=click.Choice(["log-p-gold-value", "accuracy"]), help="What decides, on validation problems.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write CONFIG with the best options here.")
@store_option
@plugin_options
@json_option
def command(  # noqa: PLR0917 - click passes them by name
    config: Path,
    trials: int | None,
    by: str | None,
    out: Path | None,
    store_folder: str,
    as_json: bool,
) -> None:
    """Search the distiller's options: temperature, alpha, learning rate, LoRA rank, divergence.

    Every trial distils a student and examines it on validation problems. These come from the transfer split, right
    after the problems that are trained on; the test problems take no part. The section [tune] of CONFIG says how many,
    how long and what is varied. After an interruption the same command goes on.
    """
    from kdprobe.cli.show.tables import print_json
    from kdprobe.cli.show.tuning import show_tuning, tuning_summary
    from kdprobe.console import note
    from kdprobe.experiment.load_config import load_experiment
    from kdprobe.experiment.run import set_threads
    from kdprobe.experiment.store import Store
    from kdprobe.experiment.tune.search import prepare, tune
    from kdprobe.experiment.tune.tuned_config import tuned_config
    from kdprobe.models import processes

    if processes.count() > 1:
        raise UsageError("`kdprobe tune` works in one process.", "Start it without a launcher.")
    # Before hours of work, not after them.
    if out is not None and out.exists():
        raise UsageError(f"{out} exists already.", "Choose another name, or delete it first; the study is kept.")
    host = open_host()
    experiment = _with(load_experiment(config, host), trials=trials, by=by)
    text = config.read_text(encoding="utf-8")
    set_threads(experiment.threads)
    tuned = tune(prepare(experiment, host), Store(Path(store_folder)))
    if out is not None:
        out.write_text(tuned_config(text, tuned.best.options, tuned.remark()), encoding="utf-8")
    if as_json:
        print_json({**tuning_summary(tuned), "out": str(out) if out else None})
    else:
        show_tuning(tuned)
        if out is not None:
            note(f"Wrote {out}. Next: kdprobe run {out}")


def _with(experiment: Experiment, **given: str | int | None) -> Experiment:
    """The command line goes before the config."""
    update = {name: value for name, value in given.items() if value is not None}
    return experiment.model_copy(update={"tune": experiment.tune.model_copy(update=update)})
