"""`kdprobe probe`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kdprobe.cli.inputs import create, open_host, open_problems, read_conversation, read_settings, refuse_strays
from kdprobe.cli.options import (
    adapters_option,
    conversation_options,
    json_option,
    plugin_options,
    problems_option,
    settings_option,
)
from kdprobe.errors import UsageError

if TYPE_CHECKING:
    from kdprobe.comparison.finding import Finding
    from kdprobe.models.conversation import Conversation
    from kdprobe.probing.analysis import Analysis, AnalysisContext, AnalysisResult

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
@adapters_option
@click.option("--against", metavar="NAME|MODEL", help="Compare with this adapter or model instead of MODEL.")
@problems_option
@conversation_options
@click.option(
    "--template-of", metavar="NAME", help="All students read by this student's chat template.  [default: the first]"
)
@click.option(
    "--limit", type=click.IntRange(1, 2**31), default=16, show_default=True, help="The first so many problems."
)
@click.option("--batch-size", type=click.IntRange(1), default=8, show_default=True, help="Sequences at once.")
@click.option("--patterns", multiple=True, metavar="[NAME=]PATH", help="Attention patterns from a file or folder.")
@click.option("--analysis", "analyses", multiple=True, help="An analysis; repeatable.  [default: heads]")
@settings_option("an analysis or the problem source")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Write tables and a page into a folder.")
@click.option("--figures", is_flag=True, help="With --out: every figure as PNG and SVG, too.")
@plugin_options
@json_option
def command(  # noqa: PLR0917 - click passes them by name
    model: str | None,
    adapters: tuple[str, ...],
    against: str | None,
    problems: str,
    system: str | None,
    date: str | None,
    template_arguments: tuple[str, ...],
    template_of: str | None,
    limit: int,
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
    from kdprobe.cli.show.comparison import show_findings
    from kdprobe.cli.show.run import show_analyses
    from kdprobe.cli.show.tables import print_json
    from kdprobe.console import note
    from kdprobe.probing.analysis import AnalysisContext, run_analysis
    from kdprobe.probing.metrics.metric import head_metrics_of

    if (model is None) == (not patterns):
        raise UsageError("Give either MODEL or --patterns.", "`kdprobe probe --help` has examples.")
    if patterns and (adapters or against or template_of):
        raise UsageError("--adapter, --against and --template-of go with MODEL, not with --patterns.")
    conversation = read_conversation(system, date, template_arguments)
    if patterns and conversation.sentence:
        raise UsageError("--system, --date and --template-argument go with MODEL, not with --patterns.")
    if figures and out is None:
        raise UsageError("--figures needs --out.", "It says where the images go.")
    host = open_host()
    names = list(dict.fromkeys(analyses or ("heads",)))
    options = read_settings(settings)
    refuse_strays(options, {*names} if model is None else {*names, problems})
    findings: list[Finding] = []
    built = {name: create(host, "analyses", name, options) for name in names}
    if model is None:
        from kdprobe.probing.patterns.files import read_patterns

        context = AnalysisContext(patterns=read_patterns(patterns), head_metrics=head_metrics_of(host))
    else:
        from kdprobe.problems.draw import first_problems
        from kdprobe.students.resolve import resolve_students

        context = AnalysisContext(
            students=resolve_students(model, adapters, against, conversation),
            problems=first_problems(open_problems(host, problems, options), limit),
            batch_size=batch_size,
            head_metrics=head_metrics_of(host),
            template_of=template_of,
        )
        findings = _read_problems(conversation, context, built)
    results = {name: run_analysis(name, analysis, context) for name, analysis in built.items()}
    page = _write(out, context, results, findings, images=figures) if out else None
    if as_json:
        data = _data(context, results, page) | {"findings": [asdict(finding) for finding in findings]}
        print_json(data | ({} if model is None else {"conversation": conversation.as_key()}))
    else:
        show_analyses({name: result.statements for name, result in results.items()})
        show_findings(findings)
        if conversation.sentence:
            note(conversation.sentence)
        if page:
            note(f"Tables and page: {page}")


def _read_problems(
    conversation: Conversation, context: AnalysisContext, analyses: Mapping[str, Analysis]
) -> list[Finding]:
    """Renders the problems that are to be read, so that what a template refuses is known before weights are loaded.

    Returns:
        What to know about how they are read.

    Raises:
        KdprobeError: A chat template refuses a problem, none reads an argument that is given, or students read other
            tokens.
    """
    from kdprobe.models.conversation import refuse_unread

    if conversation.template_arguments:
        readers = {student.reader: student for student in context.students}
        refuse_unread(conversation, [student.load_tokenizer() for student in readers.values()])
    if any({"patterns", "problems"} & analysis.needs for analysis in analyses.values()):
        return context.findings
    return []


def _write(
    out: Path,
    context: AnalysisContext,
    results: dict[str, AnalysisResult],
    findings: Sequence[Finding],
    *,
    images: bool,
) -> Path:
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
        else f"{len(context.problems)} problems; all students read the same tokens. "
        f"{context.students[0].base.conversation.sentence}".strip()
    )
    names = [source.name for source in (context.patterns or context.students)]
    return write_probe_page(out, names, subject, results, findings)


def _data(context: AnalysisContext, results: dict[str, AnalysisResult], page: Path | None) -> dict[str, Any]:
    from kdprobe.probing.metrics.measure import measure_file, per_layer

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
        "analyses": {
            name: {**result.summary, "statements": list(result.statements)} for name, result in results.items()
        },
        "page": str(page) if page else None,
    }
