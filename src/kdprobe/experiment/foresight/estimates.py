"""How long stages will take and how large they will be, estimated from similar finished stages.

A stage is like another if it is of the same kind and has the same models, options, problem source, device, number of
threads and kind of machine. It may have different problems, a different number of them, a different strategy or a
different seed. Its time is in proportion to the number of its problems. There is no estimate without such a stage.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from kdprobe.experiment.integrity.manifest import SIZE
from kdprobe.experiment.stages.stage import Stage
from kdprobe.files import digest
from kdprobe.models.outline.device import machine

_VARYING = frozenset(
    {"format", "problems", "prompts", "messages", "seed", "texts", "arms", "libraries", "head_metrics"}
    | {"strategy", "strategies"}
)
"""Settings in which like stages may differ."""
_OF_ONE_SIZE = "distill"
"""The kind of stage whose size does not depend on the number of problems: an adapter."""


@dataclass(frozen=True)
class Estimate:
    """What a stage will take.

    Attributes:
        seconds: Its duration.
        size: Its size in bytes.
        basis: Number of finished stages that the estimate is based on.
        units: Number of problems (or answers, or examples) of these stages, on average.
    """

    seconds: float
    size: float
    basis: int
    units: float


@dataclass(frozen=True)
class _Finished:
    strategy: str
    taught: bool
    seconds: float
    size: int
    units: int


class Estimates:
    """Estimates by finished stages.

    Args:
        manifests: The manifests of finished stages.
    """

    def __init__(self, manifests: Iterable[Mapping[str, Any]] = ()) -> None:
        self._finished: dict[str, list[_Finished]] = {}
        for manifest in manifests:
            self.add(manifest)

    def add(self, manifest: Mapping[str, Any]) -> None:
        """Adds a finished stage, unless it says too little or was resumed, so that its seconds are only a part."""
        if "units" not in manifest or manifest["resumed"]:
            return
        settings, taught = manifest["settings"], bool(manifest["inputs"])
        finished = _Finished(
            strategy=digest(settings.get("strategy")),
            taught=taught,
            seconds=manifest["seconds"],
            size=sum(entry[SIZE] for entry in manifest["files"].values()),
            units=manifest["units"],
        )
        likeness = _likeness(manifest["kind"], settings, manifest["machine"], taught=taught)
        self._finished.setdefault(likeness, []).append(finished)

    def of(self, stage: Stage) -> Estimate | None:
        """The estimate for a stage, or `None` if there is no finished stage like it."""
        alike = self._finished.get(_likeness(stage.kind, stage.settings, machine(), taught=bool(stage.inputs)))
        if not alike:
            return None
        # Prompts and answers have other lengths under other strategies, and after training.
        strategy, taught = digest(stage.settings.get("strategy")), bool(stage.inputs)
        closest = [each for each in alike if (each.strategy, each.taught) == (strategy, taught)] or alike
        units = sum(each.units for each in closest)
        share = stage.units / units
        size = sum(each.size for each in closest)
        return Estimate(
            seconds=sum(each.seconds for each in closest) * share,
            size=size / len(closest) if stage.kind == _OF_ONE_SIZE else size * share,
            basis=len(closest),
            units=units / len(closest),
        )


def _likeness(kind: str, settings: Mapping[str, Any], where: str, *, taught: bool) -> str:
    """A digest of everything in which like stages agree."""
    problems = settings.get("problems")
    source = problems.get("source") if isinstance(problems, dict) else None
    # A teacher that reads existing texts is much faster than one that answers.
    reads = kind == "transfer" and (taught or settings.get("texts") is not None)
    return digest([kind, where, reads, _without_varying(settings), _without_varying(source)])


def _without_varying(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _without_varying(inner) for name, inner in value.items() if name not in _VARYING}
    return value


@dataclass(frozen=True)
class Outlook:
    """What some stages will take together.

    Attributes:
        seconds: Of those that can be estimated.
        size: Of those that can be estimated, in bytes.
        known: Number of stages that can be estimated.
        unknown: Number of stages that cannot.
    """

    seconds: float
    size: float
    known: int
    unknown: int


def outlook(estimates: Iterable[Estimate | None]) -> Outlook:
    """Adds up estimates; `None` stands for a stage without one."""
    every = [*estimates]
    known = [estimate for estimate in every if estimate]
    return Outlook(
        sum(each.seconds for each in known), sum(each.size for each in known), len(known), len(every) - len(known)
    )
