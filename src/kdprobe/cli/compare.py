"""`kdprobe compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from kdprobe.api.compare import compare
from kdprobe.cli.inputs import fail_where_found
from kdprobe.cli.options import calls, column_options, json_option, plugin_options, store_option, strict_option

EPILOG = """\b
Examples:
  kdprobe compare before.csv after.csv
  kdprobe compare *.csv.gz --extractor published --json
  kdprobe compare embedded                       a run's arms, as they were planned
  kdprobe compare a/unprimed b/unprimed          arms of two runs
  kdprobe compare a.jsonl b.jsonl --strict       fail where there are findings, for CI
  kdprobe compare *.csv.gz --claims table.csv    against published figures: arm, accuracy, correct, n
"""


@calls(compare)
@click.command(epilog=EPILOG)
@click.argument("names", nargs=-1, required=True, metavar="FILE|RUN|RUN/ARM...")
@click.option("--extractor", show_default=True, help="The extractor that decides.")
@column_options
@click.option(
    "--claims",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A table of published figures to check: arm, and of accuracy, correct and n what it has.",
)
@strict_option
@store_option
@plugin_options
@json_option
def command(as_json: bool, strict: bool, names: tuple[str, ...], **given: Any) -> None:
    """Compare files of answers, runs, or single arms of runs, problem by problem.

    Answers are paired by id, or by question where ids do not meet; the output says which. Pairs get exact McNemar tests
    and intervals. One run by itself is compared in the families that it planned; otherwise all pairs are one family for
    Holm's adjustment. Findings say what may spoil a comparison: unequal token budgets, prompts or versions, answers cut
    off or without a value, different problems, a result that depends on the extractor, problems that were trained on.
    """
    from kdprobe.cli.show.comparison import show_comparison

    result = compare(*names, **given)
    if as_json:
        click.echo(result.to_json())
    else:
        show_comparison(result.comparison)
    fail_where_found(result.findings, strict=strict)
