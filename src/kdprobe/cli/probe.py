"""`kdprobe probe`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kdprobe.cli import json_option
from kdprobe.errors import UsageError

if TYPE_CHECKING:
    from kdprobe.host.registry import Host
    from kdprobe.probing.analysis import AnalysisContext, AnalysisResult

EPILOG = """\b
Examples:
  kdprobe probe smollm2-135m-instruct --problems mine.jsonl
  kdprobe probe MODEL --adapter a=first/adapter --adapter b=second/adapter --out probed
  kdprobe probe MODEL --adapter none@0=x --adapter none@1=y     two seeds of one arm
  kdprobe probe MODEL --analysis heads --option heads.smallest_effect=0.1
  kdprobe probe --patterns before=a.npz --patterns after=b.npz --analysis divergence --json
"""


@click.command(epilog=EPILOG)
@click.argument("model", required=False)
@click.option(
    "--adapter", "adapters", multiple=True, metavar="[NAME=]PATH", help="A LoRA adapter of MODEL; repeatable."
)
@click.option("--against", metavar="NAME|MODEL", help="Compare with this adapter or model instead of MODEL.")
@click.option("--problems", default="gsm8k", show_default=True, help="A file of JSON lines, or a problem source.")
@click.option("--count", type=click.IntRange(1), default=16, show_default=True, help="Problems at most.")
@click.option("--batch-size", type=click.IntRange(1), default=8, show_default=True, help="Sequences at once.")
@click.option("--patterns", multiple=True, metavar="[NAME=]PATH", help="Attention patterns from a file or folder.")
@click.option("--analysis", "analyses", multiple=True, help="An analysis; repeatable.  [default: heads]")
@click.option(
    "--option", "settings", multiple=True, metavar="NAME.KEY=VALUE", help="An option of an analysis or problem source."
)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Write tables and a page into a folder.")
@click.option("--figures", is_flag=True, help="With --out: every figure as PNG and SVG, too.")
@json_option
def command(  # noqa: PLR0917 - click passes them by name
    model: str | None,
    adapters: tuple[str, ...],
    against: str | None,
    problems: str,
    count: int,
    batch_size: int,
    patterns: tuple[str, ...],
    analyses: tuple[str, ...],
    settings: tuple[str, ...],
    out: Path | None,
    figures: bool,
    as_json: bool,
) -> None:
    """Look inside students: what their attention heads do, which of them moved, and more.

    MODEL is an alias, a folder, a GGUF file or an id of the Hub. All students read the same tokens: the bare question,
    then the gold solution. With --patterns no model is needed: attention patterns are read from .npz, .safetensors or
    .npy files, or from folders of .npy.
    """
    from kdprobe.cli.show import print_json, show_analyses
    from kdprobe.console import note
    from kdprobe.host.registry import Host
    from kdprobe.probing.analysis import AnalysisContext, run_analysis
    from kdprobe.probing.head_metric import head_metrics_of

    if (model is None) == (not patterns):
        raise UsageError("Give either MODEL or --patterns.", "`kdprobe probe --help` has examples.")
    if patterns and (adapters or against):
        raise UsageError("--adapter and --against go with MODEL, not with --patterns.")
    if figures and out is None:
        raise UsageError("--figures needs --out.", "It says where the images go.")
    host = Host()
    names = list(dict.fromkeys(analyses or ("heads",)))
    options = _options(settings)
    built = {name: _build(host, name, options.pop(name, {})) for name in names}
    source_options = options.pop(problems, {})
    if options:
        raise UsageError(
            f"--option names {next(iter(options))!r}, which is not asked for.", "Name an --analysis first."
        )
    if model is None:
        from kdprobe.probing.patterns import read_patterns

        context = AnalysisContext(patterns=read_patterns(patterns), head_metrics=head_metrics_of(host))
    else:
        from kdprobe.probing.subjects import problems_of, students_of

        context = AnalysisContext(
            students=students_of(model, adapters, against),
            problems=problems_of(host, problems, count, source_options),
            batch_size=batch_size,
            head_metrics=head_metrics_of(host),
        )
    results = {name: run_analysis(name, analysis, context) for name, analysis in built.items()}
    page = _write(out, context, results, images=figures) if out else None
    if as_json:
        print_json(_data(context, results, page))
    else:
        show_analyses({name: result.findings for name, result in results.items()})
        if page:
            note(f"Tables and page: {page}")


def _options(settings: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """Name to key to value; values are TOML, or text where they are not."""
    import tomllib

    options: dict[str, dict[str, Any]] = {}
    for setting in settings:
        place, given, text = setting.partition("=")
        name, dot, key = place.partition(".")
        if not (given and dot and key):
            raise UsageError(f"{setting!r} is not an option.", "Write NAME.KEY=VALUE, as in heads.smallest_effect=0.1.")
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = text
        options.setdefault(name, {})[key] = value
    return options


def _build(host: Host, name: str, options: dict[str, Any]) -> Any:
    from pydantic import ValidationError

    from kdprobe.experiment.mistakes import sentences

    try:
        return host.make("analyses", name, options)
    except ValidationError as error:
        raise UsageError(f"Options of {name}: {'; '.join(sentences(error, None))}.") from error


def _write(out: Path, context: AnalysisContext, results: dict[str, AnalysisResult], *, images: bool) -> Path:
    from kdprobe.probing.tables import write_tables
    from kdprobe.report.probe_page import write_probe_page

    for name, result in results.items():
        folder = out / name
        folder.mkdir(parents=True, exist_ok=True)
        write_tables(result.tables, folder)
        if images:
            from kdprobe.report.images import write_images

            write_images(result.figures, folder)
    subject = (
        "Attention patterns from files."
        if context.patterns
        else f"{len(context.problems)} problems; all students read the same tokens."
    )
    names = [one.name for one in (context.patterns or context.students)]
    return write_probe_page(out, names, subject, results)


def _data(context: AnalysisContext, results: dict[str, AnalysisResult], page: Path | None) -> dict[str, Any]:
    from kdprobe.probing.measure import measure_file, per_layer

    checks = context.bridges.errors if context.students else {}
    return {
        "patterns": [
            {
                "name": file.name,
                "file": str(file.file),
                "per_layer": per_layer(measure_file(file, context.head_metrics)),
            }
            for file in context.patterns
        ],
        "students": [
            {
                "name": student.name,
                "model": student.base.as_provenance(),
                "adapter": str(student.adapter) if student.adapter else None,
                "self_check": checks.get(student.name),
            }
            for student in context.students
        ],
        "problems": [problem.id for problem in context.problems],
        "analyses": {name: {**result.summary, "findings": list(result.findings)} for name, result in results.items()},
        "page": str(page) if page else None,
    }
