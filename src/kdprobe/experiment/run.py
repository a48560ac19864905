"""Runs a plan: makes every missing stage, then writes the run's record."""

from __future__ import annotations

import datetime as dt
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from itertools import compress
from pathlib import Path
from typing import Any

from kdprobe.console import note
from kdprobe.console.bars import Remainder, as_part
from kdprobe.distill.targets import adapters_sentence
from kdprobe.experiment.config import to_data
from kdprobe.experiment.finished import finished_stage
from kdprobe.experiment.foresight.estimates import Estimates, outlook
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
from kdprobe.models import processes


def set_threads(threads: int | None) -> None:
    """Sets torch's thread count, before any key that depends on it is computed."""
    if threads is not None:
        import torch

        torch.set_num_threads(threads)


def run(plan: Plan, store: Store, notify: Callable[[FinishedStage], None] | None = None) -> str:
    """Makes every missing stage and writes the run's record.

    In a multi-process launch, the main process does this; the others only take part in training, and finish after the
    last training stage.

    Args:
        plan: The plan.
        store: The store.
        notify: Called with every finished stage, in the main process.

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
            with plan.pool:
                _make(plan, store, launch, notify)
    processes.leave()
    return plan.run


def _make(plan: Plan, store: Store, launch: str | None, notify: Callable[[FinishedStage], None] | None) -> None:
    folder = store.run_folder(plan.run)
    folder.mkdir(exist_ok=True)
    sync(folder.parent)
    write_sealed(folder / BEGUN, {"run": plan.run, "stages": [stage.key for stage in plan.stages]})
    total, makes = len(plan.stages), False
    for caution in plan.cautions:
        note(caution)
    for finding in plan.findings:
        note(str(finding))
    if older := store.older_stages():
        note(older_sentence(older))
    for distiller, modules in adapted_modules(plan.stages).items():
        note(adapters_sentence(distiller, modules))
    estimates = Estimates(store.manifests())
    # Looked up once: a key is a hash over the keys of all inputs.
    missing = [not store.has(stage) for stage in plan.stages]
    for index, stage in enumerate(plan.stages, start=1):
        started = time.monotonic()
        label = f"[{index:>{len(str(total))}}/{total}] {stage.kind} {stage.name}"
        later = [*compress(plan.stages[index:], missing[index:])]
        if not store.has(stage):
            note(f"{label} …")
        with as_part(_remainder(estimates, stage, later)):
            made = store.make(stage, launch)
        makes |= made
        if made:
            estimates.add(store.checks.manifest(store.folder(stage)))
            left = _remainder(estimates, None, later).words()
            note(f"{label}: {time.monotonic() - started:.0f} s{f'; {left}' if left else ''}")
        else:
            note(f"{label}: already done")
        _note_outcome(stage, store.folder(stage), made=made)
        if notify:
            notify(finished_stage(plan.run, stage, store, made=made))
    finished = None if makes else _finished_before(folder / RECORD)
    now = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
    write_sealed(folder / RECORD, _record(plan, store, finished or now))
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


def _remainder(estimates: Estimates, stage: Stage | None, later: Sequence[Stage]) -> Remainder:
    """What is left of a run when a stage begins, or, without one, before the next of the later stages."""
    after = outlook(map(estimates.of, later))
    if stage is None:
        return Remainder(0.0, after.seconds, after.unknown)
    estimate = estimates.of(stage)
    return Remainder(estimate.seconds if estimate else None, after.seconds, after.unknown)


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


@contextmanager
def reproducible() -> Iterator[None]:
    """Uses deterministic kernels where torch has them, and warns instead of failing where it does not."""
    import torch

    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
