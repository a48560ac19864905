"""`kdprobe plugins new`."""

from __future__ import annotations

from pathlib import Path

import click

from kdprobe.cli.options import quiet_option

EPILOG = """\b
Examples:
  # into the new folder kdprobe-step-back
  kdprobe plugins new step-back --kind strategy
  kdprobe plugins new svamp --kind problem-source --folder mine
  cd kdprobe-step-back && pip install -e . && pytest
"""
_KINDS = (
    "strategy",
    "teacher",
    "distiller",
    "analysis",
    "head-metric",
    "problem-source",
    "extractor",
    "task",
    "engine",
    "executor",
)


@click.command(epilog=EPILOG)
@click.argument("name")
@click.option(
    "--kind",
    type=click.Choice(_KINDS),
    metavar="KIND",
    required=True,
    help=f"What the plugin provides: {', '.join(_KINDS)}.",
)
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="The folder to write to; by default kdprobe-NAME.",
)
@quiet_option
def command(name: str, kind: str, folder: Path | None) -> None:
    """Write a complete plugin package to start from: code, test, pyproject.toml, README, CI.

    NAME is the name used in configs: lowercase letters, digits and dashes. The package is named kdprobe-NAME, and its
    tests pass from the start. A folder that is not empty is left unchanged.
    """
    from kdprobe.console import note
    from kdprobe.host.choice import Choice
    from kdprobe.host.discovery import discover
    from kdprobe.host.registry import Host
    from kdprobe.scaffold import write_package

    package = write_package(name, kind, folder, Host(discover(), Choice()))
    note(f"Wrote {package}. Next: cd {package} && pip install -e . && pytest")
