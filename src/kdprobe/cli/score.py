"""`kdprobe score`."""

from __future__ import annotations

from pathlib import Path

import click

from kdprobe.cli import json_option, open_host, plugin_options

EPILOG = """\b
Examples:
  kdprobe score answers.csv                                 columns found by their usual names
  kdprobe score *.csv.gz --extractor all                    every extractor, side by side
  kdprobe score out.jsonl --response-column text --gold-column label
  kdprobe score samples_gsm8k_*.jsonl --extractor flexible  what lm-eval would say
"""


@click.command(epilog=EPILOG)
@click.argument("files", nargs=-1, required=True, type=click.Path(dir_okay=False, path_type=Path))
@click.option("--extractor", "name", default="robust", show_default=True, help="An extractor's name, or `all`.")
@click.option("--response-column", help="What the model wrote.")
@click.option("--gold-column", help="The gold answer: a value, or a solution that ends in #### value or A: value.")
@click.option("--id-column", help="What identifies a problem.")
@plugin_options
@json_option
def command(  # noqa: PLR0917 - click passes them by name
    files: tuple[Path, ...],
    name: str,
    response_column: str | None,
    gold_column: str | None,
    id_column: str | None,
    as_json: bool,
) -> None:
    """Score answers that are there already: CSV, JSON lines, Parquet, lm-eval's samples. No model is needed.

    An empty answer is a wrong answer, counted and said. Extractors differ in how they read the final value and in when
    they take it for right; `kdprobe plugins` lists them.
    """
    from dataclasses import asdict

    from kdprobe.cli.show.scores import show_scores
    from kdprobe.cli.show.tables import print_json
    from kdprobe.comparison.answers import Columns, read_outputs
    from kdprobe.comparison.scoring import scores
    from kdprobe.experiment.compare_runs import short_names

    host = open_host()
    names = host.names("extractors") if name == "all" else [name]
    extractors = {known: host.create("extractors", known) for known in names}
    columns = Columns(response_column, gold_column, id_column)
    found = [one for file in files for one in scores(read_outputs(file, columns), extractors)]
    if as_json:
        print_json([asdict(one) for one in found])
    else:
        show_scores(found, {str(file): name for file, name in short_names(files).items()})
