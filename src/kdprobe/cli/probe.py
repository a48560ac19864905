"""`kdprobe probe`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import click

from kdprobe.api.probe import DEFAULT_ANALYSES, probe
from kdprobe.cli import options
from kdprobe.cli.complete.plugins import models, provided
from kdprobe.models.reference import Precision

EPILOG = """\b
Examples:
  kdprobe probe smollm2-135m-instruct --problems mine.jsonl
  kdprobe probe MODEL --adapter a=first --adapter b=second --out probed
  kdprobe probe MODEL --adapter a@0=x --adapter a@1=y  # seeds 0 and 1 of a
  kdprobe probe MODEL --analysis heads --option heads.smallest_effect=0.1
  kdprobe probe --patterns a=a.npz --patterns b=b.npz --analysis divergence
"""


@options.calls(probe)
@click.command(epilog=EPILOG)
@click.argument("model", required=False, shell_complete=models)
@options.students_options
@click.option("--against", metavar="NAME|OTHER", help="Compare with this adapter, or another model, instead of MODEL.")
@options.problems_option
@options.conversation_options
@click.option(
    "--template-of", metavar="NAME", help="Use this student's chat template for all students.  [default: the first]"
)
@click.option("--limit", type=click.IntRange(1, 2**31), show_default=True, help="Use only the first N problems.")
@click.option("--batch-size", type=click.IntRange(1), show_default=True, help="Sequences per batch.")
@click.option("--dtype", type=click.Choice(get_args(Precision)), show_default=True, help="Data type of the weights.")
@options.device_map_option
@click.option(
    "--patterns", multiple=True, metavar="[NAME=]PATH", help="Attention patterns from a file or folder; repeatable."
)
@click.option(
    "--analysis",
    "analyses",
    shell_complete=provided("analyses"),
    multiple=True,
    help="An analysis; repeatable.  [default: heads]",
)
@options.settings_option("an analysis or the problem source")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Write tables and a page to this folder.")
@click.option("--figures", is_flag=True, help="With --out: also write every figure as PNG and SVG.")
@options.plugin_options
@options.quiet_option
@options.json_option
def command(as_json: bool, model: str | None, analyses: tuple[str, ...], **given: Any) -> None:
    """Look inside students: what their attention heads do, which ones changed, and more.

    MODEL is a folder, a GGUF file, a Hub id or smollm2-135m-instruct. All students read the same tokens: the
    bare question, then the gold solution. With --patterns, no model is needed: patterns come from .npz, .safetensors
    or .npy files.
    """
    from kdprobe.cli.show.run import show_analyses
    from kdprobe.cli.show.scores import show_findings
    from kdprobe.console import note

    result = probe(model, analyses=analyses or DEFAULT_ANALYSES, **given)
    if as_json:
        click.echo(result.to_json())
        return
    show_analyses(result.statements)
    show_findings(result.findings)
    if result.conversation.sentence:
        note(result.conversation.sentence)
    if result.page:
        note(f"Tables and page: {result.page}")
