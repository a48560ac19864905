"""Probing: looking inside students."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdprobe.api.given.inputs import checked_options, conversation_of, create, problem_source, refuse_strays
from kdprobe.api.results.probe import ProbeResult
from kdprobe.api.session import AnyPath, calling
from kdprobe.errors import UsageError

if TYPE_CHECKING:
    import datetime as dt

    import numpy as np
    from numpy.typing import NDArray

    from kdprobe.api.given.inputs import Options, Problems
    from kdprobe.comparison.finding import Finding
    from kdprobe.host.registry import Host
    from kdprobe.probing.analysis import Analysis, AnalysisContext, AnalysisResult

DEFAULT_ANALYSES = ("heads",)
_NAMELESS = "<lambda>"


def probe(
    model: str | None = None,
    *,
    adapters: Mapping[str, AnyPath] | Sequence[str] = (),
    against: str | None = None,
    problems: Problems = "gsm8k",
    system: str | None = None,
    date: dt.date | str | None = None,
    template_arguments: Mapping[str, Any] | None = None,
    template_of: str | None = None,
    limit: int = 16,
    batch_size: int = 8,
    patterns: Mapping[str, AnyPath | NDArray[np.floating]] | Sequence[str] = (),
    analyses: Sequence[str | Callable[..., Any]] | Mapping[str, Callable[..., Any]] = DEFAULT_ANALYSES,
    options: Options | None = None,
    out: AnyPath | None = None,
    figures: bool = False,
    plugins_dir: AnyPath | None = None,
    no_plugins: bool = False,
    progress: bool = True,
) -> ProbeResult:
    """Looks inside students, as `kdprobe probe` does. All students read the same tokens.

    Args:
        model: An alias, a folder, a GGUF file or a Hub id; not needed with `patterns`.
        adapters: A dict of names to folders or Hub ids, or a list of these, named by the last part of their paths. The
            name `ARM@SEED` gives arm and seed.
        against: Compare with this adapter or model instead of `model`.
        problems: A problem source, a file of JSON lines, a list of `kdprobe.Problem`, or a table with `question` and
            `answer` (`pandas.DataFrame` or a list of dicts).
        system: A system message for conversations without one.
        date: The date for chat templates that use one; a fixed date by default.
        template_arguments: Named arguments of the chat template, such as `enable_thinking`.
        template_of: The student whose chat template all students use; by default the first.
        limit: Use only the first N problems.
        batch_size: Sequences per batch.
        patterns: A dict of names to files, folders or arrays with the attention patterns of one prompt,
            `[layer, head, query, key]`; or a list of paths.
        analyses: A list of names of analyses and functions, or a dict of names to functions. A function may have any of
            these parameters: `students`, `problems`, `sequences`, `bridges`, `pool`, `patterns`, `head_metrics`,
            `batch_size`, `seed`. Each is the attribute of `kdprobe.probing.AnalysisContext` with that name. It returns
            a table, a dict of tables, or a `kdprobe.probing.AnalysisResult`.
        options: Options by name of the analysis or problem source.
        out: A folder to write tables and a page to.
        figures: With `out`: also write every figure as PNG and SVG.
        plugins_dir: A folder of additional plugins to load.
        no_plugins: Load only kdprobe's own plugins.
        progress: Whether to print progress and notes to stderr.

    Raises:
        UsageError: Arguments contradict each other, or a name does not exist.
        KdprobeError: A model, a problem or a pattern cannot be read, TransformerLens disagrees with Hugging Face, or an
            analysis lacks what it needs.
    """
    from kdprobe.probing.analysis import AnalysisContext, run_analysis
    from kdprobe.probing.metrics.metric import head_metrics_of

    with calling(progress=progress) as call:
        if (model is None) == (not patterns):
            raise UsageError("Specify either MODEL or --patterns.", "`kdprobe probe --help` has examples.")
        if patterns and (adapters or against or template_of):
            raise UsageError("--adapter, --against and --template-of need MODEL and cannot be used with --patterns.")
        conversation = conversation_of(system, date, template_arguments)
        if patterns and conversation.sentence:
            raise UsageError("--system, --date and --template-argument need MODEL and cannot be used with --patterns.")
        if figures and out is None:
            raise UsageError("--figures needs --out.", "Set --out to the folder for the images.")
        if limit < 1 or batch_size < 1:
            raise UsageError("The limit and the batch size must be positive.")
        host = call.open_host(plugins_dir, no_plugins=no_plugins)
        names = _named(analyses, host)
        given = checked_options(options)
        by_name = {os.fspath(problems)} if model is not None and isinstance(problems, str | os.PathLike) else set()
        refuse_strays(given, {*names} | by_name)
        built: dict[str, Analysis] = {name: create(host, "analyses", name, given) for name in names}
        findings: list[Finding] = []
        if model is None:
            from kdprobe.probing.patterns.files import read_patterns

            context = AnalysisContext(patterns=read_patterns(patterns), head_metrics=head_metrics_of(host))
        else:
            from kdprobe.problems.draw import first_problems
            from kdprobe.students.resolve import resolve_students

            context = AnalysisContext(
                students=resolve_students(model, adapters, against, conversation),
                problems=first_problems(problem_source(host, problems, given).source, limit),
                batch_size=batch_size,
                head_metrics=head_metrics_of(host),
                template_of=template_of,
            )
            findings = _read_problems(context, built)
        results = {name: run_analysis(name, analysis, context) for name, analysis in built.items()}
        return ProbeResult(
            details=results,
            findings=findings,
            students=context.students,
            self_checks=context.bridges.errors if context.students else {},
            problems=context.problems,
            patterns=context.patterns,
            head_metrics=context.head_metrics,
            conversation=conversation,
            page=_write(Path(out), context, results, findings, images=figures) if out else None,
            warnings=tuple(call.warnings),
        )


def _named(analyses: Sequence[str | Callable[..., Any]] | Mapping[str, Callable[..., Any]], host: Host) -> list[str]:
    """Returns the names of the analyses; functions are added to the host."""
    from kdprobe.api.given.functions import add_functions

    if isinstance(analyses, str):
        analyses = [analyses]
    if not isinstance(analyses, Mapping):
        names = [each if isinstance(each, str) else getattr(each, "__name__", _NAMELESS) for each in analyses]
        if _NAMELESS in names:
            raise UsageError("An analysis is a function without a name.", "Name it: analyses={'name': lambda ...}.")
        functions = {name: each for name, each in zip(names, analyses, strict=True) if not isinstance(each, str)}
    else:
        functions, names = dict(analyses), list(analyses)
    # Their results are not stored, so they need no key.
    add_functions(host, analyses=functions, keyed=False)
    return list(dict.fromkeys(names))


def _read_problems(context: AnalysisContext, analyses: Mapping[str, Analysis]) -> list[Finding]:
    """Renders the problems, so that a template's errors appear before weights are loaded.

    Returns:
        Findings about how the problems are read.

    Raises:
        KdprobeError: A chat template rejects a problem, no template uses one of the arguments, or students read
            different tokens.
    """
    from kdprobe.models.conversation import refuse_unread

    conversation = context.students[0].base.conversation
    if conversation.template_arguments:
        readers = {student.reader: student for student in context.students}
        refuse_unread(conversation, [student.load_tokenizer() for student in readers.values()])
    if any({"patterns", "problems"} & analysis.needs for analysis in analyses.values()):
        return context.findings
    return []


def _write(
    out: Path,
    context: AnalysisContext,
    results: Mapping[str, AnalysisResult],
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
