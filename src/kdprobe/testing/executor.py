"""The contract of an executor: the numbers of one process, and an end for every task, whatever happens to it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from kdprobe.console.relay import Progressed, Said
from kdprobe.host.choice import Choice
from kdprobe.host.registry import Host
from kdprobe.testing.contract import require

if TYPE_CHECKING:
    from kdprobe.experiment.executors.executor import Ended, Executor, Job, Report, Task
    from kdprobe.experiment.plan import Plan
    from kdprobe.experiment.store import Store

_SECONDS = 300.0
_JOBS = 2
_TIMED = ("stage.json", "training.json", "transfer.json", "fidelity.json")
"""Files that say when or for how long something was done."""


def check_executor(host: Host, name: str, options: dict[str, Any] | None = None, *, model: Path, folder: Path) -> None:
    """Has an executor run a small experiment, and compares what it leaves in the store with a run in this process.

    Args:
        host: The host that provides it.
        name: The executor.
        options: Its options, as in `--option`.
        model: The folder of a small model.
        folder: An empty folder that all its processes share.

    Raises:
        ContractError: Stages differ from those of one process, a task has no end or several, or a task that cannot be
            run ends without an error.
    """
    from kdprobe.experiment.executors.job import RunJob
    from kdprobe.experiment.executors.local import LocalExecutor
    from kdprobe.experiment.run import run
    from kdprobe.experiment.store import Store

    plan = _plan(model)
    expected, found = Store(folder / "expected"), Store(folder / "found")
    run(plan, expected, executor=LocalExecutor())
    watched = _Watched(host.create("executors", name, options))
    run(plan, found, executor=watched, jobs=_JOBS)
    label = f"The executor {name!r}"
    for task, ends in watched.ends.items():
        require(ends == 1, f"{label} reports the end of {task} {ends} times; it must do so once.")
    _check_stages(plan, expected, found, label)
    _check_refusal(host.create("executors", name, options), RunJob(plan, found), label)


class _Watched:
    """An executor whose reports are counted."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self.ends: Counter[str] = Counter()

    def start(self, job: Job, jobs: int | None, report: Report) -> None:
        def counted(task: Task, event: Said | Progressed | Ended) -> None:
            self.ends[task.label] += not isinstance(event, Said | Progressed)
            report(task, event)

        self._executor.start(job, jobs, counted)

    def submit(self, task: Task) -> None:
        self.ends[task.label] += 0
        self._executor.submit(task)

    def stop(self) -> None:
        self._executor.stop()


def _plan(model: Path) -> Plan:
    from kdprobe.experiment.load_config import experiment_of
    from kdprobe.experiment.plan import make_plan

    training = {"epochs": 1, "batch_size": 2, "learning_rate": 1e-2}
    config = {
        "name": "executor",
        "strategies": ["none", "teacher"],
        "problems": {"source": "gsm-symbolic", "options": {"templates": [6]}, "transfer": 4, "test": 2},
        "student": {"model": str(model)},
        "teacher": {"options": {"model": str(model)}},
        "transfer": {"max_new_tokens": 4, "top_logprobs": 8},
        "distill": {"name": "logits", "options": training},
        "controls": {"fine_tuned": False},
        "evaluation": {"max_new_tokens": 4, "batch_size": 2},
        "probe": {"problems": 1, "analyses": ["geometry"]},
    }
    # Nothing but kdprobe's own plugins, so that other processes plan the same.
    host = Host(choice=Choice(none=True))
    return make_plan(experiment_of(config, host, "The experiment", folder=Path()), host)


def _check_stages(plan: Plan, expected: Store, found: Store, label: str) -> None:
    for stage in plan.stages:
        what = f"{stage.kind} {stage.name}"
        require(found.is_whole(stage), f"{label} leaves {what} unfinished.")
        here, there = expected.folder(stage), found.folder(stage)
        for file in sorted(here.rglob("*")):
            if file.is_file() and file.name not in _TIMED:
                other = there / file.relative_to(here)
                require(
                    other.is_file() and other.read_bytes() == file.read_bytes(),
                    f"{label}: {file.relative_to(here)} of {what} differs from what a single process writes.",
                )


def _check_refusal(executor: Executor, job: Job, label: str) -> None:
    """A task that no process can run must end with an error."""
    from kdprobe.experiment.executors.executor import Ended, Task

    events: SimpleQueue[Said | Progressed | Ended] = SimpleQueue()
    try:
        executor.start(job, _JOBS, lambda _, event: events.put(event))
        executor.submit(Task("0" * 16, "evaluate", "nobody"))
        while not isinstance(event := events.get(timeout=_SECONDS), Ended):
            pass
    except Empty:
        event = None
    finally:
        executor.stop()
    require(isinstance(event, Ended), f"{label} does not report the end of a task that cannot be run.")
    require(
        isinstance(event, Ended) and event.error is not None,
        f"{label} reports success for a task that is not part of the run.",
    )
