"""The engine that an evaluation uses, and the faster one that it could."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kdprobe.api.given.inputs import validated_options
from kdprobe.console import note

if TYPE_CHECKING:
    from kdprobe.api.given.inputs import Options
    from kdprobe.experiment.stages.engine import ChosenEngine
    from kdprobe.experiment.stages.stage import Stage
    from kdprobe.experiment.store import Store
    from kdprobe.host.registry import Host

_MANY = 32
"""From so many problems on, a faster engine gains more than it takes to start."""


def given_engine(host: Host, name: str, options: Options) -> ChosenEngine:
    """The engine of this name, not yet built.

    Raises:
        UsageError: There is no such engine, or its options have errors.
    """
    from kdprobe.experiment.stages.engine import ChosenEngine

    return ChosenEngine(host, name, validated_options(host, "engines", name, options))


def recommend(host: Host, engine: ChosenEngine, stages: Sequence[Stage], store: Store) -> None:
    """Says in one line that a faster engine is installed, if many problems are still to be answered."""
    from kdprobe.evaluation.engines.engine import BUILT_IN
    from kdprobe.host.specs import EngineSpec

    left = sum(stage.units for stage in stages if not store.has(stage))
    if engine.name != BUILT_IN or left < _MANY:
        return
    for name in host.unique_names("engines"):
        spec = host.get("engines", name).spec
        if isinstance(spec, EngineSpec) and spec.fast:
            note(f"The engine {name!r} is installed and usually faster: --engine {name}.")
