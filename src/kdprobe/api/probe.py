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
from kdprobe.models.devices.placement import DeviceMap, named_placement
from kdprobe.models.reference import Precision, Quantization
from kdprobe.words import counted

if TYPE_CHECKING:
    import datetime as dt

    import numpy as np
    from numpy.typing import NDArray

    from kdprobe.api.given.inputs import Options, Problems
    from kdprobe.comparison.finding import Finding
    from kdprobe.host.registry import Host
    from kdprobe.probing.analysis import Analysis, AnalysisContext, AnalysisResult

DEFAULT_ANALYSES = ("heads",)
_ABOUT_MODELS = "--adapter, --against, --template-of, --quantization, --device-map and --dtype"
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
    dtype: Precision = "float32",
    quantization: Quantization | None = None,
    device_map: DeviceMap | None = None,
    patterns: Mapping[str, AnyPath | NDArray[np.floating] | Sequence[Any]] | Sequence[str] = (),
    analyses: Sequence[str | Callable[..., Any]] | Mapping[str, Callable[..., Any]] = DEFAULT_ANALYSES,
    head_metrics: Sequence[Callable[..., Any]] | Mapping[str, Callable[..., Any]] = (),
    options: Options | None = None,
    out: AnyPath | None = None,
    figures: bool = False,
    plugins_dir: AnyPath | None = None,
    no_plugins: bool = False,
    progress: bool = True,
) -> ProbeResult:
    """Looks inside students, as `kdprobe probe` does. All students read the same tokens.

    Args:
        model: An alias, a folder, a GGUF file or an id on the Hub; not needed with `patterns`.
        adapters: A dict that maps names to folders, Hub ids or built-in adapters (`kdprobe:NAME`); or a list of these,
            each named after the last part of its path. A name of the form `ARM@SEED` sets arm and seed.
        against: Compare with this adapter or model instead of `model`.
        problems: A problem source, a `.jsonl` file, a list of `kdprobe.Problem`, or a table (`pandas.DataFrame` or a
            list of dicts) with `question` and `answer`; every answer ends with a line `#### value`.
        system: A system message for conversations without one.
        date: The date passed to chat templates that use one; a fixed date by default.
        template_arguments: Arguments of the chat template, such as `enable_thinking`.
        template_of: The student whose chat template is used for all; by default the first.
        limit: Use only the first N problems.
        batch_size: Sequences per batch.
        dtype: Data type of the students' weights: `float32`, `bfloat16` or `float16`. In 16 bits, results say how far
            rounding moves attention patterns, and analyses that need float32 are refused.
        quantization: Quantise the model's weights when they are loaded: `nf4` or `int8`; adapters stay beside them.
        device_map: How to spread the weights over all GPUs: `auto`, `balanced`, `balanced_low_0` or `sequential`.
        patterns: Attention patterns of one or several prompts: a dict that maps names to files, folders, arrays
            `[layer, head, query, key]` or the `attentions` that a model returns; or a list of paths.
        analyses: A list of names and functions, or a dict that maps names to functions. A function requests what it
            needs by the names of its parameters: any of `students`, `problems`, `sequences`, `bridges`, `pool`,
            `patterns`, `counterfactuals`, `head_metrics`, `batch_size` and `seed`, which are attributes of
            `kdprobe.probing.AnalysisContext`. It returns a table (a DataFrame or a list of dicts), a dict of
            DataFrames, or a `kdprobe.probing.AnalysisResult`.
        head_metrics: Functions to use as head metrics: a list, or a dict that maps names to functions. Each takes a
            `kdprobe.probing.PatternView` and returns a tensor `[batch, head]`.
        options: The options of analyses and of the problem source, by name.
        out: The folder to write to: tables and a page.
        figures: With `out`: also write every figure as PNG and SVG.
        plugins_dir: A folder from which to load more plugins.
        no_plugins: Load only kdprobe's own plugins.
        progress: Whether to print progress and notes to stderr.

    Raises:
        UsageError: Arguments contradict each other, or a name is unknown.
        KdprobeError: Something cannot be read, TransformerLens disagrees with Hugging Face, or an analysis lacks input.
    """
    from kdprobe.api.results.probed_students import ProbedStudents
    from kdprobe.probing.analysis import AnalysisContext, run_analysis
    from kdprobe.probing.few_problems import few_problems
    from kdprobe.probing.metrics.metric import head_metrics_of
    from kdprobe.probing.patterns.findings import pattern_findings
    from kdprobe.probing.precision import refuse_reduced

    with calling(progress=progress) as call:
        if (model is None) == (not patterns):
            raise UsageError("Specify either MODEL or --patterns.", "`kdprobe probe --help` has examples.")
        if patterns and (adapters or against or template_of or quantization or device_map or dtype != "float32"):
            raise UsageError(f"{_ABOUT_MODELS} need MODEL and cannot be used with --patterns.")
        conversation = conversation_of(system, date, template_arguments)
        if patterns and conversation.sentence:
            raise UsageError("--system, --date and --template-argument need MODEL and cannot be used with --patterns.")
        if figures and out is None:
            raise UsageError("--figures needs --out.", "Set --out to the folder for the images.")
        if limit < 1 or batch_size < 1:
            raise UsageError("The limit and the batch size must be positive.")
        host = call.open_host(plugins_dir, no_plugins=no_plugins)
        names = _use(host, analyses, head_metrics)
        given = checked_options(options)
        by_name = {os.fspath(problems)} if model is not None and isinstance(problems, str | os.PathLike) else set()
        refuse_strays(given, {*names} | by_name)
        refuse_reduced(host, names, dtype)
        built: dict[str, Analysis] = {name: create(host, "analyses", name, given) for name in names}
        if model is None:
            from kdprobe.probing.patterns.files import read_patterns

            context = AnalysisContext(patterns=read_patterns(patterns), head_metrics=head_metrics_of(host))
        else:
            from kdprobe.problems.draw import first_problems
            from kdprobe.students.resolve import resolve_students

            source, placement = problem_source(host, problems, given), named_placement(device_map)
            context = AnalysisContext(
                students=resolve_students(model, adapters, against, conversation, quantization, placement=placement),
                problems=first_problems(source.source, limit),
                batch_size=batch_size,
                head_metrics=head_metrics_of(host),
                template_of=template_of,
                counterfactuals=source.counterfactuals,
                dtype=dtype,
            )
        # Recorded before the analyses run, so that the students loaded later are the ones examined.
        students = ProbedStudents(context.students, context.problems, template_of)
        chosen = {name: dict(given.get(name, {})) for name in names}
        findings = [
            *(_read_problems(context, built) if students else pattern_findings(context.patterns)),
            # With a single prompt, the analyses say themselves that there are no intervals.
            *(few_problems(host, chosen, context.samples) if students or context.samples > 1 else []),
        ]
        results = {name: run_analysis(name, analysis, context) for name, analysis in built.items()}
        return ProbeResult(
            tables={name: result.tables for name, result in results.items()},
            statements={name: list(result.statements) for name, result in results.items()},
            plotly_data={
                name: {figure.title: figure.plotly for figure in result.figures} for name, result in results.items()
            },
            details=results,
            findings=findings,
            students=students,
            self_checks=context.bridges.errors if context.students else {},
            dtype=dtype,
            problems=context.problems,
            patterns=context.patterns,
            head_metrics=context.head_metrics,
            conversation=conversation,
            page=_write(Path(out), context, results, findings, images=figures) if out else None,
            warnings=tuple(call.warnings),
        )


def _use(
    host: Host,
    analyses: Sequence[str | Callable[..., Any]] | Mapping[str, Callable[..., Any]],
    head_metrics: Sequence[Callable[..., Any]] | Mapping[str, Callable[..., Any]],
) -> list[str]:
    """Adds the functions to the host; returns the names of the analyses."""
    from kdprobe.api.given.functions import add_functions

    named = _named(analyses, "analyses")
    by_name = isinstance(analyses, Mapping)
    functions = {name: each for name, each in named.items() if by_name or not isinstance(each, str)}
    # What they return is not stored under a key.
    add_functions(host, analyses=functions, head_metrics=_named(head_metrics, "head_metrics"), keyed=False)
    return list(named)


def _named(given: Any, argument: str) -> dict[str, Any]:
    """The items by name; a function in a list has its own name.

    Raises:
        UsageError: A function has no name, or two have the same.
    """
    if isinstance(given, Mapping):
        return dict(given)
    named: dict[str, Any] = {}
    for each in [given] if callable(given) or isinstance(given, str) else given:
        name = each if isinstance(each, str) else getattr(each, "__name__", _NAMELESS)
        if name == _NAMELESS or named.get(name, each) != each:
            problem = "has no name" if name == _NAMELESS else f"has the same name as another, {name!r}"
            raise UsageError(f"A function in {argument} {problem}.", f"Name it: {argument}={{'NAME': function}}.")
        named[name] = each
    return named


def _read_problems(context: AnalysisContext, analyses: Mapping[str, Analysis]) -> list[Finding]:
    """Findings about how the problems are read; a template's errors appear here, before weights are loaded.

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
    from kdprobe.probing.precision import in_words
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
        else f"{counted(len(context.problems), 'problem')}; all students read the same tokens"
        f"{in_words(context.students, context.dtype)}. {context.students[0].base.conversation.sentence}".strip()
    )
    names = [each.name for each in context.patterns or context.students]
    return write_probe_page(out, names, subject, results, findings)
