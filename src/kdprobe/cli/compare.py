"""`kdprobe compare`."""

from __future__ import annotations

from pathlib import Path

import click

from kdprobe.cli import json_option
from kdprobe.errors import KdprobeError, UsageError

EPILOG = """\b
Examples:
  kdprobe compare before.csv after.csv
  kdprobe compare *.csv.gz --extractor published --json
  kdprobe compare a.jsonl b.jsonl --strict      fail where there are findings, for CI
"""


@click.command(epilog=EPILOG)
@click.argument("files", nargs=-1, required=True, type=click.Path(dir_okay=False, path_type=Path))
@click.option("--extractor", "chosen", default="robust", show_default=True, help="The extractor that decides.")
@click.option("--response-column", help="What the model wrote.")
@click.option("--gold-column", help="The gold answer.")
@click.option("--id-column", help="What identifies a problem; answers are paired by it.")
@click.option("--strict", is_flag=True, help="Exit with 1 where there are findings.")
@json_option
def command(  # noqa: PLR0917 - click passes them by name
    files: tuple[Path, ...],
    chosen: str,
    response_column: str | None,
    gold_column: str | None,
    id_column: str | None,
    strict: bool,
    as_json: bool,
) -> None:
    """Compare files of answers, problem by problem: exact McNemar tests, intervals, and what may mislead.

    Answers are paired by id, else by question. All pairs are one family for Holm's adjustment. Findings say what may
    spoil a comparison: unequal token budgets, answers cut off or without a value, different problems, a result that
    hangs on the extractor.
    """
    from kdprobe.cli.show import comparison_data, print_json, show_comparison
    from kdprobe.evaluation.file_comparison import NamedOutputs, compare_files
    from kdprobe.evaluation.outputs import Columns, read_outputs
    from kdprobe.host.registry import Host

    if len(files) < 2:  # noqa: PLR2004
        raise UsageError("A comparison takes two files or more.", "`kdprobe score` scores a single one.")
    host = Host()
    host.get("extractors", chosen)
    extractors = {name: host.make("extractors", name) for name in host.names("extractors")}
    columns = Columns(response_column, gold_column, id_column)
    named = [NamedOutputs(name, read_outputs(file, columns)) for name, file in zip(_names(files), files, strict=True)]
    comparison = compare_files(named, chosen, extractors)
    if as_json:
        print_json(comparison_data(comparison))
    else:
        show_comparison(comparison)
    if strict and comparison.findings:
        codes = ", ".join(finding.code for finding in comparison.findings)
        raise KdprobeError(f"There are findings: {codes}.", "They fail because of --strict.")


def _names(files: tuple[Path, ...]) -> list[str]:
    """File names without their endings, or whole paths where those are not unique."""
    stems = [file.name.partition(".")[0] for file in files]
    return stems if len(set(stems)) == len(files) else [str(file) for file in files]
