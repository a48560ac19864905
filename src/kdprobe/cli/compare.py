"""`kdprobe compare`."""

from __future__ import annotations

from pathlib import Path

import click

from kdprobe.cli.inputs import fail_where_found, open_host
from kdprobe.cli.options import column_options, json_option, plugin_options, store_option, strict_option

EPILOG = """\b
Examples:
  kdprobe compare before.csv after.csv
  kdprobe compare *.csv.gz --extractor published --json
  kdprobe compare embedded                       a run's arms, as they were planned
  kdprobe compare a/unprimed b/unprimed          arms of two runs
  kdprobe compare a.jsonl b.jsonl --strict       fail where there are findings, for CI
  kdprobe compare *.csv.gz --claims table.csv    against published figures: arm, accuracy, correct, n
"""


@click.command(epilog=EPILOG)
@click.argument("names", nargs=-1, required=True, metavar="FILE|RUN|RUN/ARM...")
@click.option("--extractor", "chosen", default="robust", show_default=True, help="The extractor that decides.")
@column_options
@click.option(
    "--claims",
    "table",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A table of published figures to check: arm, and of accuracy, correct and n what it has.",
)
@strict_option
@store_option
@plugin_options
@json_option
def command(  # noqa: PLR0917 - click passes them by name
    names: tuple[str, ...],
    chosen: str,
    response_column: str | None,
    gold_column: str | None,
    id_column: str | None,
    encoding: str | None,
    table: Path | None,
    strict: bool,
    store_folder: str,
    as_json: bool,
) -> None:
    """Compare files of answers, runs, or single arms of runs, problem by problem.

    Answers are paired by id, or by question where ids do not meet; the output says which. Pairs get exact McNemar tests
    and intervals. One run by itself is compared in the families that it planned; otherwise all pairs are one family for
    Holm's adjustment. Findings say what may spoil a comparison: unequal token budgets, prompts or versions, answers cut
    off or without a value, different problems, a result that depends on the extractor, problems that were trained on.
    """
    from kdprobe.cli.show.comparison import comparison_data, show_comparison
    from kdprobe.cli.show.tables import print_json
    from kdprobe.comparison.claims import claim_findings, read_claims
    from kdprobe.comparison.reading.columns import Columns
    from kdprobe.experiment.compare_runs import compare_named
    from kdprobe.experiment.store import Store

    host = open_host()
    host.get("extractors", chosen)
    columns = Columns(response_column, gold_column, id_column)
    claims = read_claims(table) if table else []
    comparison = compare_named(
        names, Store(Path(store_folder)), columns, host.all("extractors"), chosen, encoding=encoding
    )
    comparison.findings.extend(claim_findings(claims, comparison.arms))
    if as_json:
        print_json(comparison_data(comparison))
    else:
        show_comparison(comparison)
    fail_where_found(comparison.findings, strict=strict)
