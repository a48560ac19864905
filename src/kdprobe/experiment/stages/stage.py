"""A step of an experiment: what determines it, what it reads, and how it is run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, wraps
from pathlib import Path
from typing import Any, ParamSpec

from kdprobe.experiment.integrity.manifest import stage_key
from kdprobe.models.outline.resources import ANY, Resources
from kdprobe.redaction import without_secrets

Arguments = ParamSpec("Arguments")
KINDS = ("transfer", "select", "distill", "evaluate", "task", "analyse")
"""All kinds of stages."""


@dataclass(frozen=True)
class Stage:
    """One step of an experiment.

    Attributes:
        kind: One of `KINDS`.
        name: Its name in this run.
        settings: Everything that determines its outcome besides its inputs, ready for JSON.
        inputs: The stages whose outcome it reads.
        work: Runs it: `(folder to write into, folders of the inputs, scratch folder) -> None`. Files in the scratch
            folder survive a kill, and are removed once the stage is finished.
        units: Number of problems, answers or examples that it works through; its time is roughly proportional to it.
        resources: The threads and the device that it was planned for.
    """

    kind: str
    name: str
    settings: dict[str, Any]
    inputs: tuple[Stage, ...]
    work: Callable[[Path, list[Path], Path], None]
    units: int = 1
    resources: Resources = ANY

    def __post_init__(self) -> None:
        """Keeps secrets out of keys and manifests."""
        object.__setattr__(self, "settings", without_secrets(self.settings))

    @cached_property
    def key(self) -> str:
        """Hash of the settings and the inputs' keys."""
        return stage_key(self.kind, self.settings, [needed.key for needed in self.inputs])

    def run(self, folder: Path, inputs: list[Path], scratch: Path) -> None:
        """Does the work with its resources; arguments as for `work`.

        Raises:
            KdprobeError: This process has a device of another class than the stage was planned for.
        """
        with self.resources.held():
            self.work(folder, inputs, scratch)


def with_parts(stages: Iterable[Stage]) -> Iterator[Stage]:
    """The stages, each after those of its inputs that are not among them: its parts."""
    listed = [*stages]
    known = {stage.key for stage in listed}
    for stage in listed:
        for part in stage.inputs:
            if (key := part.key) not in known:
                known.add(key)
                yield part
        yield stage


def with_resources(kind: str) -> Callable[[Callable[Arguments, Stage]], Callable[Arguments, Stage]]:
    """Lets a function, whose first argument is the context, plan a stage for the resources of its kind."""

    def decorate(plan: Callable[Arguments, Stage]) -> Callable[Arguments, Stage]:
        @wraps(plan)
        def planned(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Stage:
            context: Any = args[0]
            resources = context.experiment.resources.of(kind)
            with resources.planned():
                return replace(plan(*args, **kwargs), resources=resources)

        return planned

    return decorate
