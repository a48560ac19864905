"""Runs a plan: makes every missing stage, then writes the run's record."""

from __future__ import annotations

import datetime as dt
import platform
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kdprobe.console import note
from kdprobe.distill.targets import adapters_sentence
from kdprobe.errors import UsageError
from kdprobe.experiment.config import to_data
from kdprobe.experiment.executors.executor import Executor
from kdprobe.experiment.executors.job import RunJob
from kdprobe.experiment.executors.local import LocalExecutor
from kdprobe.experiment.executors.reproducible import reproducible
from kdprobe.experiment.executors.schedule import Schedule
from kdprobe.experiment.finished import finished_stage
from kdprobe.experiment.integrity.needs import BEGUN
from kdprobe.experiment.integrity.upkeep import RECORD
from kdprobe.experiment.plan import Plan
from kdprobe.experiment.stages.absence import overflow_sentence, overflowed
from kdprobe.experiment.stages.analyse import STATEMENTS, before_training
from kdprobe.experiment.stages.distill import adapted_modules, diverged, divergence_sentence
from kdprobe.experiment.stages.environment import LIBRARIES, environment
from kdprobe.experiment.stages.stage import Stage
from kdprobe.experiment.store import Store
from kdprobe.experiment.teaching.conversations import recorded_conversations
from kdprobe.files import UnreadableError, read_json, read_sealed, sync, write_sealed
from kdprobe.host.candidates import own_version
from kdprobe.host.stage import FinishedStage
from kdprobe.host.suggestions import suggested
from kdprobe.models import processes

_SHORTEST_KEY = 6
"""Characters of a key that may stand for it."""


def run(
    plan: Plan,
    store: Store,
    notify: Callable[[FinishedStage], None] | None = None,
    *,
    executor: Executor | None = None,
    jobs: int | None = None,
) -> str:
    """Makes every missing stage and writes the run's record.

    In a multi-process launch, the main process does this; the others only take part in training, and finish after the
    last training stage.

    Args:
        plan: The plan.
        store: The store.
        notify: Called with every finished stage, in the main process.
        executor: What runs the stages; by default this process.
        jobs: How many stages may run at the same time; `None` leaves that to the executor.

    Returns:
        The run's name.
    """
    store.prepare()
    launch = processes.launch_name()
    with reproducible():
        if launch and not processes.is_main():
            for stage in plan.stages:
                if stage.kind == "distill":
                    store.take_part(stage, launch)
        else:
            with plan.context.pool:
                job = RunJob(plan, store, launch)
                _make(job, executor or LocalExecutor(), jobs, notify)
    processes.leave()
    return plan.run


def run_stage(plan: Plan, store: Store, name: str) -> None:
    """Makes one stage of a plan, whose inputs are finished; others may be made elsewhere at the same time.

    Args:
        plan: The plan.
        store: The store.
        name: Kind and name of the stage, as `kdprobe plan` lists them, or its key or the beginning of it.

    Raises:
        UsageError: There is no such stage, or one of its inputs is missing.
    """
    stage = _named(plan, name)
    missing = [f"{needed.kind} {needed.name}" for needed in stage.inputs if not store.has(needed)]
    if missing:
        those, them = ("a stage that has", "that stage") if len(missing) == 1 else ("stages that have", "those")
        raise UsageError(
            f"{stage.kind} {stage.name} depends on {those} not finished: {', '.join(missing)}.", f"Run {them} first."
        )
    store.prepare()
    _begin(plan, store)
    with reproducible(), plan.context.pool:
        made = store.make(stage)
    _note_outcome(stage, store.folder(stage), made=made)
    note(f"{stage.kind} {stage.name}: {'done' if made else 'already done'}")


def _named(plan: Plan, name: str) -> Stage:
    found = {
        stage.key: stage
        for stage in plan.stages
        if name == f"{stage.kind} {stage.name}" or (len(name) >= _SHORTEST_KEY and stage.key.startswith(name))
    }
    if len(found) == 1:
        return next(iter(found.values()))
    names = [f"{stage.kind} {stage.name}" for stage in plan.stages]
    hint = suggested(name, names) or '`kdprobe plan` lists the stages by kind and name, as in "distill unprimed".'
    raise UsageError(f"The run has {'several stages' if found else 'no stage'} named {name!r}.", hint)


def _begin(plan: Plan, store: Store) -> None:
    """Records which stages the run needs, so that nothing removes them."""
    folder = store.run_folder(plan.run)
    folder.mkdir(exist_ok=True)
    sync(folder.parent)
    write_sealed(folder / BEGUN, {"run": plan.run, "stages": [stage.key for stage in plan.stages]})


def _make(job: RunJob, executor: Executor, jobs: int | None, notify: Callable[[FinishedStage], None] | None) -> None:
    plan, store = job.plan, job.store
    _begin(plan, store)
    for caution in plan.cautions:
        note(caution)
    for finding in plan.findings:
        note(str(finding))
    if older := store.older_stages():
        note(older_sentence(older))
    for distiller, modules in adapted_modules(plan.stages).items():
        note(adapters_sentence(distiller, modules))

    def finished(stage: Stage, made: bool) -> None:
        _note_outcome(stage, store.folder(stage), made=made)
        if notify:
            notify(finished_stage(plan.run, stage, store, made=made))

    makes = Schedule(plan.stages, store, finished, jobs).run(executor, job)
    folder = store.run_folder(plan.run)
    before = None if makes else _finished_before(folder / RECORD)
    now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    write_sealed(folder / RECORD, _record(plan, store, before or now))
    (folder / BEGUN).unlink(missing_ok=True)


def _note_outcome(stage: Stage, folder: Path, *, made: bool) -> None:
    """Notes what one should know of a finished stage before the next ones begin."""
    if stage.kind == "distill" and (found := diverged(folder)):
        note(f"{stage.name} {divergence_sentence(found)} The run continues without it.")
    if stage.kind in {"evaluate", "task"} and (found := overflowed(folder)):
        note(f"{stage.name} {overflow_sentence(found)} The run continues without its answers.")
    if made and stage.kind == "analyse" and before_training(stage):
        # There is still time to stop before training.
        for statement in read_json(folder / STATEMENTS):
            note(statement)


def older_sentence(stages: int) -> str:
    """The note about stages that an earlier version of kdprobe left in the store."""
    subject, it = ("1 stage is", "it is") if stages == 1 else (f"{stages} stages are", "they are")
    return f"{subject} from an earlier version of kdprobe, whose keys are no longer used; {it} left unchanged."


def _finished_before(record: Path) -> str | None:
    """When a run finished that is repeated without making anything; `None` if that is unknown."""
    try:
        finished: str | None = read_sealed(record).get("finished")
    except UnreadableError:
        return None
    return finished


def _record(plan: Plan, store: Store, finished: str) -> dict[str, Any]:
    def key(stage: Any) -> str | None:
        return stage.key if stage else None

    names = {strategy.display_name: strategy.name for strategy in plan.experiment.strategies}
    return {
        "run": plan.run,
        "finished": finished,
        "config": to_data(plan.experiment),
        "arms": [
            {
                "name": arm.student.name,
                "arm": arm.student.arm,
                "strategy": arm.strategy,
                "strategy_name": names[arm.strategy] if arm.strategy else None,
                "unprimed": arm.unprimed,
                "distiller": arm.distiller,
                "seed": arm.student.seed,
                "transfer": key(arm.transfer),
                "select": key(arm.select),
                "distill": key(arm.distill),
                "evaluate": arm.evaluate.key,
                **({"tasks": {name: stage.key for name, stage in arm.tasks.items()}} if arm.tasks else {}),
            }
            for arm in plan.arms
        ],
        "analyses": {name: stage.key for name, stage in plan.analyses.items()},
        "problems": {
            "transfer": [problem.as_row() for problem in plan.draw.transfer],
            "test": [problem.as_row() for problem in plan.draw.test],
        },
        "conversations": recorded_conversations(plan.conversations, plan.draw.transfer),
        "student": plan.student.as_provenance(),
        "plugins": plan.plugins,
        "loaded_plugins": plan.loaded,
        "dataset": plan.dataset,
        "cautions": list(plan.cautions),
        "findings": [asdict(finding) for finding in plan.findings],
        "adapters": adapted_modules(plan.stages),
        "environment": {
            "kdprobe": own_version(),
            **environment(*LIBRARIES),
            "python": platform.python_version(),
            "machine": platform.machine(),
        },
        "seconds": {
            f"{stage.kind} {stage.name}": store.checks.manifest(store.folder(stage))["seconds"] for stage in plan.stages
        },
    }
