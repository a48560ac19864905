"""What `kdprobe compare` accepts: files of answers, runs, and single arms of runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from kdprobe.comparison.answers import read_outputs
from kdprobe.comparison.arms import Arm, families
from kdprobe.comparison.compare import compare
from kdprobe.comparison.finding import Finding
from kdprobe.comparison.reading.columns import Columns, refuse_unused
from kdprobe.comparison.reading.folders import no_answers_in
from kdprobe.comparison.reading.table import ENDINGS
from kdprobe.comparison.result import Comparison
from kdprobe.errors import UsageError
from kdprobe.experiment.audit import audit
from kdprobe.experiment.results import Results, arms_of, comparison_of, load_results
from kdprobe.experiment.store import Store
from kdprobe.problems.extractors import Extractor

_BASE = "base"


@dataclass(frozen=True)
class Compared:
    """What was compared, and the result.

    Attributes:
        arms: The arms, including those without answers.
        comparison: The result.
        cautions: What everyone who sees it must know.
        runs: The runs that arms are from.
    """

    arms: list[Arm]
    comparison: Comparison
    cautions: list[str]
    runs: list[Results]


def compare_named(
    sources: Sequence[str | Arm],
    store: Store,
    columns: Columns,
    extractors: Mapping[str, Extractor],
    chosen: str,
    *,
    encoding: str | None = None,
    baseline: str | None = None,
    bases: Sequence[str] = (),
) -> Compared:
    """Compares whatever the names refer to.

    Args:
        sources: Paths of files, names of runs (or their prefixes), RUN/ARM, or answers already read. A single run is
            compared as planned; if several are named, all pairs are compared.
        store: The store with the runs.
        columns: The columns to read from files.
        extractors: Extractors by name, including the chosen one.
        chosen: The extractor that decides.
        encoding: The encoding of text files; `None` detects it.
        baseline: The arm that all others are compared with; or a run, whose arms are compared with those of the same
            strategies in other runs. Runs may be named by a prefix.
        bases: The arms of models without an adapter, where that is known; if there is one, `base` stands for it.

    Raises:
        UsageError: A name or the baseline refers to nothing, there is only one arm, or none has a stated column.
        KdprobeError: As raised by `compare` and `read_outputs`.
    """
    names = [source for source in sources if isinstance(source, str)]
    files = [Path(name) for name in names if Path(name).is_file()]
    stems = short_names(files)
    runs = {name: _run(store, name) for name in names if Path(name) not in stems}
    if len(sources) == 1 and runs and not (named_arm := runs[names[0]][1]) and baseline is None:
        results = runs[names[0]][0]
        cautions = results.record.get("cautions", [])
        return Compared(arms_of(results), comparison_of(results, extractors, chosen), cautions, [results])
    alone = len(sources) == 1
    arms: list[Arm] = []
    for name in sources:
        if isinstance(name, Arm):
            arms.append(name)
        elif name in runs:
            results, named_arm = runs[name]
            # Strategies from different runs were not planned together.
            arms += [
                replace(arm, name=arm.name if alone else f"{results.run}/{arm.name}", strategy=None)
                for arm in arms_of(results)
                if named_arm in (None, arm.name)
            ]
        else:
            arms.append(Arm(stems[Path(name)], read_outputs(Path(name), columns, encoding=encoding)))
    refuse_unused(columns, (arm.outputs.columns for arm in arms))
    if len(arms) < 2:  # noqa: PLR2004
        raise UsageError(
            "A comparison needs at least two arms.", "Pass several files or runs; `kdprobe score` scores a single file."
        )
    arm_names = [arm.name for arm in arms]
    if repeated := sorted({name for name in arm_names if arm_names.count(name) > 1}):
        raise UsageError(f"Two sets of answers have the name {repeated[0]!r}.", "Pass each file or run only once.")
    if baseline == _BASE and _BASE not in arm_names and len(bases) == 1:
        baseline = bases[0]
    audited = {results.run: results for results, _ in runs.values()}
    if baseline is not None:
        baseline = _baseline(baseline, arms, audited)
    compared = compare(arms, extractors, chosen, baseline)
    compared.findings.extend(finding for results in audited.values() for finding in _of_run(results))
    cautions = sorted({c for results in audited.values() for c in results.record.get("cautions", [])})
    compared.verdict[:0] = cautions
    return Compared(arms, compared, cautions, list(audited.values()))


def _baseline(baseline: str, arms: Sequence[Arm], runs: Mapping[str, Results]) -> str:
    """The full name of an arm, or of a run that has the same arms as other runs."""
    names = [arm.name for arm in arms]
    if baseline in names:
        return baseline
    prefix, slash, arm = baseline.partition("/")
    matching = [run for run in runs if run.startswith(prefix)]
    run = prefix if prefix in runs else matching[0] if len(matching) == 1 else None
    if run and slash and f"{run}/{arm}" in names:
        return f"{run}/{arm}"
    if run and not slash and any(families(arms, run).values()):
        return run
    raise UsageError(f"There is no arm {baseline!r} to compare with.", f"Available arms: {', '.join(names)}.")


def _of_run(results: Results) -> list[Finding]:
    findings = audit(results.arms, results.record)
    return [replace(finding, evidence=f"{results.run}: {finding.evidence}") for finding in findings]


def _run(store: Store, name: str) -> tuple[Results, str | None]:
    """A run and one of its arms, or `None` for all arms."""
    if name.lower().endswith(ENDINGS):
        raise UsageError(f"The file {name} does not exist.", "Check the path.")
    try:
        return _named_run(store, name)
    except UsageError as error:
        if Path(name).is_dir():
            raise no_answers_in(Path(name), f", and {store.root} has no finished run with this name") from error
        raise


def _named_run(store: Store, name: str) -> tuple[Results, str | None]:
    run, _, arm = name.rpartition("/")
    if not run:
        return load_results(store, arm), None
    results = load_results(store, run)
    return results, results.arm(arm).name


def short_names(files: Sequence[Path]) -> dict[Path, str]:
    """File names without extensions, or whole paths if those are not unique."""
    stems = {file: file.name.partition(".")[0] for file in files}
    return stems if len(set(stems.values())) == len(files) else {file: str(file) for file in files}
