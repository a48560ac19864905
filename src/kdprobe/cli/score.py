"""`kdprobe score`."""

from __future__ import annotations

from pathlib import Path

import click

from kdprobe.cli.inputs import open_host
from kdprobe.cli.options import column_options, extractor_option, json_option, plugin_options

EPILOG = """\b
Examples:
  kdprobe score answers.csv                                 columns found by their usual names
  kdprobe score *.csv.gz --extractor all                    every extractor, side by side
  kdprobe score out.jsonl --response-column text --gold-column label
  kdprobe score samples_gsm8k_*.jsonl --extractor flexible  what lm-eval would say
"""


@click.command(epilog=EPILOG)
@click.argument("files", nargs=-1, required=True, type=click.Path(dir_okay=False, path_type=Path))
@extractor_option
@column_options
@plugin_options
@json_option
def command(  # noqa: PLR0917 - click passes them by name
    files: tuple[Path, ...],
    extractor: str,
    response_column: str | None,
    gold_column: str | None,
    id_column: str | None,
    encoding: str | None,
    as_json: bool,
) -> None:
    """Score existing answers from files: CSV, JSON, Parquet, lm-eval's samples. No model is needed.

    The output says which columns were read. A file whose columns or cells leave a doubt is refused with a sentence.
    An empty answer is a wrong answer, counted and said. Extractors differ in how they read the final value and in when
    they take it for right; `kdprobe plugins` lists them.
    """
    from dataclasses import asdict

    from kdprobe.cli.show.scores import show_scores
    from kdprobe.cli.show.tables import print_json
    from kdprobe.comparison.answers import read_outputs
    from kdprobe.comparison.reading.columns import Columns
    from kdprobe.comparison.scoring import scores
    from kdprobe.experiment.compare_runs import short_names

    host = open_host()
    names = host.names("extractors") if extractor == "all" else [extractor]
    extractors = {name: host.create("extractors", name) for name in names}
    columns = Columns(response_column, gold_column, id_column)
    found = [score for file in files for score in scores(read_outputs(file, columns, encoding=encoding), extractors)]
    if as_json:
        print_json([asdict(score) for score in found])
    else:
        show_scores(found, {str(file): name for file, name in short_names(files).items()})
