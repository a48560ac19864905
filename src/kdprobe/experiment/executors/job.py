"""A run as executors see it: in this process, or as data for others, which plan it again and must get the same keys."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import chdir
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from kdprobe.console.relay import Tell, relayed
from kdprobe.errors import KdprobeError, UsageError
from kdprobe.experiment.config import Experiment
from kdprobe.experiment.executors.executor import Task
from kdprobe.experiment.executors.reproducible import reproducible
from kdprobe.experiment.plan import Plan, make_plan
from kdprobe.experiment.stages.stage import Stage
from kdprobe.experiment.store import Store
from kdprobe.host.candidates import own_version
from kdprobe.host.choice import Choice
from kdprobe.host.registry import Host
from kdprobe.models.outline.device import default_device, thread_count


@dataclass(frozen=True)
class RunJob:
    """A run.

    Attributes:
        plan: Its plan.
        store: The store.
        launch: The name of the launch whose other processes take part in training, or `None`.
    """

    plan: Plan
    store: Store
    launch: str | None = None

    @cached_property
    def _stages(self) -> dict[str, Stage]:
        return {stage.key: stage for stage in self.plan.stages}

    def make(self, task: Task) -> bool:
        """Runs a stage in this process; returns whether it had to be run."""
        return self.store.make(self._stages[task.key], self.launch)

    def as_data(self) -> dict[str, Any]:
        """Everything that `make_stage` needs, ready for JSON.

        Raises:
            UsageError: The run uses functions of this process.
        """
        if self.plan.host.added:
            names = ", ".join(
                name for provider in self.plan.host.added for each in provider.provides.values() for name in each
            )
            raise UsageError(
                f"Functions defined in this process ({names}) cannot be used in other processes.",
                "Put them into a file in --plugins-dir, or run one stage at a time in this process.",
            )
        choice, evaluation = self.plan.host.choice, self.plan.experiment.evaluation
        return {
            "kdprobe": own_version(),
            "experiment": self._stated().model_dump(mode="json"),
            "tasks_folder": str(evaluation.folder),
            "plugins": {
                "none": choice.none,
                "folder": choice.folder and str(choice.folder),
                "blocked": sorted(choice.blocked),
                "strict": choice.strict,
            },
            "plugin_folders": [str(folder) for folder in self.plan.host.folders],
            "store": str(self.store.root.resolve()),
            "working_folder": str(Path.cwd()),
        }

    def _stated(self) -> Experiment:
        """The experiment with this process's threads and device filled in where the config does not set them.

        Other processes may have more processors, or a device that this one lacks. Keys are the same whether the config
        sets these values or not. A GPU is not filled in, because its name is part of the keys unless its kind was set.
        """
        resources = self.plan.experiment.resources
        left_open: dict[str, Any] = {}
        if resources.threads is None:
            left_open["threads"] = thread_count()
        if resources.device is None and default_device() == "cpu":
            left_open["device"] = "cpu"
        stated = resources.model_copy(update=left_open)
        return self.plan.experiment.model_copy(update={"resources": stated})


def make_stage(job: Mapping[str, Any], task: Task, tell: Tell) -> bool:
    """Runs a stage of a run that was planned in another process; several calls for one run share what they load.

    Args:
        job: The run, from `Job.as_data`.
        task: The stage.
        tell: Takes notes, warnings and progress.

    Returns:
        Whether it had to be run.

    Raises:
        KdprobeError: The stage has another key here, since something that determines numbers differs, or it failed.
    """
    with relayed(tell), chdir(job["working_folder"]):
        plan, store = _opened(json.dumps(job, sort_keys=True))
        stages = {stage.key: stage for stage in plan.stages}
        if task.key not in stages:
            raise _refused(task, plan.stages)
        with reproducible():
            return store.make(stages[task.key])


@lru_cache(maxsize=1)
def _opened(job: str) -> tuple[Plan, Store]:
    """A run, planned again; what there is to say about the plan was said where it was first made."""
    with relayed(lambda _: None):
        return _planned(json.loads(job))


def _planned(data: Mapping[str, Any]) -> tuple[Plan, Store]:
    if data["kdprobe"] != own_version():
        raise KdprobeError(
            f"The run was planned with kdprobe {data['kdprobe']}, but this process has {own_version()}.",
            "Install the same version everywhere.",
        )
    chosen = data["plugins"]
    choice = Choice(
        chosen["none"],
        Path(chosen["folder"]) if chosen["folder"] else None,
        frozenset(chosen["blocked"]),
        chosen["strict"],
    )
    host = Host(choice=choice)
    for folder in data["plugin_folders"]:
        host.load_folder(Path(folder))
    experiment = Experiment.model_validate(data["experiment"])
    evaluation = experiment.evaluation.within(Path(data["tasks_folder"]))
    store = Store(Path(data["store"]))
    store.hold()
    return make_plan(experiment.model_copy(update={"evaluation": evaluation}), host), store


def _refused(task: Task, stages: tuple[Stage, ...]) -> KdprobeError:
    here = next((stage for stage in stages if (stage.kind, stage.name) == (task.kind, task.name)), None)
    differences = [*_differences(task.settings, here.settings)] if here else []
    if differences:
        place, planned, found = differences[0]
        what = f"{place} is {found!r} here, but {planned!r} in the plan"
    else:
        what = "one of its inputs is not what was planned" if here else "the plan made here has no such stage"
    return KdprobeError(
        f"{task.label} cannot run in this process, because its results could differ from those of the planned stage: "
        f"{what}.",
        "Use the same versions, files and environment everywhere, and set `threads` and `device` in [resources].",
    )


def _differences(planned: Any, here: Any, place: str = "") -> Iterator[tuple[str, Any, Any]]:
    if isinstance(planned, Mapping) and isinstance(here, Mapping):
        for name in sorted({*planned, *here}):
            yield from _differences(planned.get(name), here.get(name), f"{place}.{name}" if place else name)
    elif planned != here:
        yield place, planned, here
