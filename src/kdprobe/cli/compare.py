"""`kdprobe compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from kdprobe.api.compare import compare
from kdprobe.cli import options
from kdprobe.cli.complete.plugins import provided
from kdprobe.cli.complete.runs import runs_or_files
from kdprobe.cli.inputs import fail_where_found, strict_option

EPILOG = """\b
Examples:
  kdprobe compare before.csv after.csv
  kdprobe compare *.csv.gz --extractor published --json
  # the arms of a run, grouped as planned; arms of two runs
  kdprobe compare embedded
  kdprobe compare a/unprimed b/unprimed
  # compare all others with base.jsonl, and write a page
  kdprobe compare *.jsonl --baseline base --out c.html
  # for CI: exit with status 1 if there are warnings
  kdprobe compare a.jsonl b.jsonl --strict
  # check published numbers: arm, accuracy, correct, n
  kdprobe compare *.csv.gz --claims table.csv
"""


@options.calls(compare)
@click.command(epilog=EPILOG)
@click.argument("names", nargs=-1, required=True, metavar="FILE|RUN|RUN/ARM...", shell_complete=runs_or_files)
@click.option(
    "--extractor",
    shell_complete=provided("extractors"),
    show_default=True,
    help="The extractor used for scores and tests.",
)
@options.column_options
@click.option(
    "--claims",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A table of published numbers to check: a column named arm, and any of accuracy, correct and n.",
)
@options.baseline_option
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE.html",
    help="Write a page for exploring the comparison and all answers.",
)
@strict_option
@options.store_option
@options.plugin_options
@options.quiet_option
@options.json_option
def command(as_json: bool, strict: bool, names: tuple[str, ...], **given: Any) -> None:
    """Compare answer files, runs, or individual arms (students) of runs, problem by problem.

    Answers are paired by id, or by question if the files share no ids; the output says which. Each pair of arms gets an
    exact McNemar test and intervals. The pairs of a single run are grouped as planned for that run; otherwise all pairs
    (with --baseline, the pairs with the baseline) form one family for Holm's adjustment. Warnings report what may
    invalidate a comparison: unequal token budgets, prompts or versions, truncated answers, answers from which no value
    could be extracted, different problems, results that depend on the extractor, or test problems that were used for
    training.
    """
    from kdprobe.cli.show.comparison import show_comparison

    result = compare(*names, **given)
    if as_json:
        click.echo(result.to_json())
    else:
        show_comparison(result.comparison)
    fail_where_found(result.findings, strict=strict)
