"""Reads a finished run: the data behind the report, the terminal output and `--json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from kdprobe.comparison.answers import read_outputs
from kdprobe.comparison.arms import NO_ANSWERS, Arm
from kdprobe.comparison.compare import compare
from kdprobe.comparison.result import Comparison
from kdprobe.comparison.tasks.gain import gain_with_loss
from kdprobe.errors import KdprobeError, UsageError
from kdprobe.experiment.arm_names import BARE, display_name, resolved
from kdprobe.experiment.arm_results import ArmResults
from kdprobe.experiment.audit import audit, scope
from kdprobe.experiment.evaluations.compared import task_comparison
from kdprobe.experiment.integrity.checks import Checks
from kdprobe.experiment.integrity.upkeep import RECORD
from kdprobe.experiment.stages.absence import ABSENT, overflowed
from kdprobe.experiment.stages.analyse import FIGURES, STATEMENTS
from kdprobe.experiment.stages.distill import ADAPTER, DIVERGED, TRAINING
from kdprobe.experiment.stages.evaluate import RECORDS
from kdprobe.experiment.stages.select import SELECTION
from kdprobe.experiment.stages.task import DOCUMENTS
from kdprobe.experiment.stages.transfer import FIDELITY
from kdprobe.experiment.store import Store
from kdprobe.experiment.teacher_audit import teacher_findings
from kdprobe.experiment.teaching.texts import teachings, written_answers
from kdprobe.files import UnreadableError, read_json, read_sealed
from kdprobe.host.suggestions import suggested
from kdprobe.problems.extractors import Extractor


@dataclass(frozen=True)
class AnalysisResults:
    """One analysis of a finished run: figures and statements as written, and tables by name."""

    name: str
    figures: list[dict[str, Any]]
    statements: list[str]
    tables: dict[str, Path]


@dataclass(frozen=True)
class Results:
    """A finished run.

    Attributes:
        run: Its name.
        folder: Its folder.
        record: The run's record as written.
        arms: All arms.
        analyses: All analyses.
        checks: What is known to be undamaged.
    """

    run: str
    folder: Path
    record: dict[str, Any]
    arms: list[ArmResults]
    analyses: list[AnalysisResults]
    checks: Checks

    @cached_property
    def written(self) -> dict[str, pa.Table]:
        """The answers of each strategy's teacher; see `written_answers`."""
        return written_answers(self.arms, self.checks)

    @property
    def fidelity(self) -> dict[str, dict[str, Any]]:
        """The fidelity of each strategy's transfer set; `kept` counts the answers students were trained on."""
        return {
            arm.strategy: {
                # Earlier versions did not record these.
                "untaught": [],
                **dict.fromkeys(("thinking", "unclosed_thinking", "dropped_thinking"), 0.0),
                "ended": {},
                **arm.fidelity,
                "kept": arm.fidelity["responses"] if arm.kept is None else len(arm.kept),
            }
            for arm in self.arms
            if arm.strategy and arm.fidelity
        }

    def arm(self, name: str) -> ArmResults:
        """The arm with this name, else the only arm whose strategy has this name.

        Raises:
            UsageError: The run has no such arm.
        """
        arms = {arm.name: arm for arm in self.arms}
        found = resolved(name, {arm.name: arm.other_name for arm in self.arms})
        if found is None:
            hint = f"{suggested(name, arms)} Available arms: {', '.join(arms)}.".lstrip()
            raise UsageError(f"The run {self.run} has no arm {name!r}.", hint)
        return arms[found]


def load_results(store: Store, run: str) -> Results:
    """Reads a finished run.

    Args:
        store: The store with the run.
        run: Its name, or a unique prefix of it.

    Raises:
        UsageError: The run does not exist or never finished.
        KdprobeError: A file of the run was changed after it was written.
    """
    if not (store.run_folder(run) / RECORD).is_file():
        names = store.runs()
        matching = [name for name in names if name.startswith(run)]
        if len(matching) == 1:
            return load_results(store, matching[0])
        if matching:
            raise UsageError(
                f"The name {run!r} is ambiguous: {len(matching)} finished runs in {store.root} start with it.",
                f"Choose one: {', '.join(matching)}.",
            )
        hint = (
            # People type the name that the config gives, without the digest.
            f"{suggested(run, [*names, *(name.rpartition('-')[0] for name in names)])} "
            f"Finished runs: {', '.join(names)}.".lstrip()
            if names
            else "The store has no finished runs yet; start one with `kdprobe run`."
        )
        raise UsageError(f"There is no finished run {run!r} in {store.root}.", hint)
    store.hold()
    folder = store.run_folder(run)
    try:
        record = read_sealed(folder / RECORD)
    except UnreadableError as error:
        raise KdprobeError(
            f"The run {run} is damaged: its {RECORD} {error}.", "Run the experiment again; undamaged stages are reused."
        ) from error
    arms = [_arm(store, {**_role(arm, record), **arm}) for arm in record["arms"]]
    analyses = [_analysis(store, name, key) for name, key in record["analyses"].items()]
    return Results(run, folder, record, arms, analyses, store.checks)


def comparison_of(results: Results, extractors: Mapping[str, Extractor], chosen: str = "robust") -> Comparison:
    """Compares the arms of a run, and adds the findings about its record.

    Args:
        results: The run.
        extractors: Extractors by name, including the chosen one.
        chosen: The extractor that decides.
    """
    taught = teachings(results.written, results.record)
    compared = compare(arms_of(results), extractors, chosen, teaching=taught)
    if tasks := task_comparison(results.arms, results.record["config"]["evaluation"].get("tasks", [])):
        compared = replace(compared, tasks=tasks)
        compared.verdict.extend(tasks.verdict)
        compared.findings.extend(gain_with_loss(compared.pairs, compared.strategies, tasks.changes))
    compared.findings.extend([*teacher_findings(results.arms), *audit(results.arms, results.record)])
    # A verdict on students of a distiller with a caution must not be read without it.
    compared.verdict[:0] = results.record.get("cautions", [])
    compared.verdict.extend(scope(results.record))
    return compared


def arms_of(results: Results) -> list[Arm]:
    """The arms of a run, for a comparison; arms without answers say why."""
    strategies = {
        display_name(strategy["name"], strategy.get("label")): strategy
        for strategy in results.record["config"].get("strategies", [])
    }
    return [
        Arm(
            arm.name,
            read_outputs(arm.file, source=f"{results.run}/{arm.name}") if arm.file else NO_ANSWERS,
            arm.strategy,
            arm.distiller,
            arm.seed,
            arm.unprimed,
            absent=arm.absence,
            taught_by=_identity(arm, strategies),
        )
        for arm in results.arms
    ]


def _identity(arm: ArmResults, strategies: Mapping[str, Mapping[str, Any]]) -> str:
    """The strategy and its options as text; only the name in records of earlier versions, empty for controls."""
    options = strategies.get(arm.strategy or "", {}).get("options") or {}
    return f"{arm.strategy_name} {json.dumps(options, sort_keys=True)}" if arm.strategy_name else ""


def _role(arm: dict[str, Any], record: dict[str, Any]) -> dict[str, Any]:
    """Fills in what records of earlier versions lack; in those versions `none` was the only unprimed strategy."""
    names = {strategy.get("label") or strategy["name"]: strategy["name"] for strategy in record["config"]["strategies"]}
    name = names.get(arm["strategy"])
    return {"strategy_name": name, "unprimed": name == BARE}


def _arm(store: Store, arm: dict[str, Any]) -> ArmResults:
    def file(kind: str, name: str) -> Path | None:
        return store.checks.file(store.folder_of(kind, arm[kind]), name) if arm.get(kind) else None

    fidelity, training, selection = file("transfer", FIDELITY), file("distill", TRAINING), file("select", SELECTION)
    learnt = read_json(training) if training else None
    trained = training and learnt and not learnt.get(DIVERGED)
    evaluated = store.folder_of("evaluate", arm["evaluate"])
    answered = ABSENT not in store.checks.manifest(evaluated)["files"]
    answers = store.checks.file(evaluated, RECORDS if answered else ABSENT)
    return ArmResults(
        name=arm["name"],
        strategy=arm["strategy"],
        distiller=arm["distiller"],
        seed=arm["seed"],
        fidelity=read_json(fidelity) if fidelity else None,
        kept=read_json(selection)[arm["transfer"]] if selection and arm["transfer"] else None,
        training=learnt,
        records=pq.read_table(answers).to_pylist() if answered else [],
        file=answers if answered else None,
        adapter=training.with_name(ADAPTER) if training and trained else None,
        strategy_name=arm["strategy_name"],
        unprimed=arm["unprimed"],
        overflowed=overflowed(evaluated),
        tasks=_task_files(store, arm),
        transfer=store.folder_of("transfer", arm["transfer"]) if arm.get("transfer") else None,
    )


def _task_files(store: Store, arm: dict[str, Any]) -> dict[str, Path]:
    """The file with the documents of each task that the student could be evaluated on."""
    folders = {name: store.folder_of("task", key) for name, key in arm.get("tasks", {}).items()}
    return {
        name: store.checks.file(folder, DOCUMENTS)
        for name, folder in folders.items()
        if DOCUMENTS in store.checks.manifest(folder)["files"]
    }


def _analysis(store: Store, name: str, key: str) -> AnalysisResults:
    folder = store.folder_of("analyse", key)
    return AnalysisResults(
        name=name,
        figures=read_json(store.checks.file(folder, FIGURES)),
        statements=read_json(store.checks.file(folder, STATEMENTS)),
        tables={file.stem: file for file in store.checks.tables(folder)},
    )
