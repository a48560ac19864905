"""`kdprobe score`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from kdprobe.api.score import score
from kdprobe.cli.options import calls, column_options, extractor_option, json_option, plugin_options, quiet_option

EPILOG = """\b
Examples:
  # find columns by their usual names
  kdprobe score answers.csv
  # all extractors side by side
  kdprobe score *.csv.gz --extractor all
  kdprobe score out.jsonl --response-column text --gold-column label
  # what lm-eval would report
  kdprobe score samples_gsm8k_*.jsonl --extractor flexible
"""


@calls(score)
@click.command(epilog=EPILOG)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@extractor_option
@column_options
@plugin_options
@quiet_option
@json_option
def command(as_json: bool, files: tuple[Path, ...], **given: Any) -> None:
    """Score existing answers from files; no model is needed.

    Files can be CSV, JSON or Parquet, lm-eval samples, inspect_ai logs, lighteval details, or folders of .jsonl files.

    The output says which columns were read. A file with ambiguous columns or cells is rejected with an explanation.
    An empty answer counts as wrong and is reported. Extractors differ in how they read the final value and when they
    accept it; `kdprobe plugins` lists them.
    """
    from kdprobe.cli.show.scores import show_scores

    result = score(*files, **given)
    if as_json:
        click.echo(result.to_json())
    else:
        names = zip(result.details, result.names, strict=True)
        show_scores(result.details, {score.file: name for score, name in names}, result.findings, of="file")
