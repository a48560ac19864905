"""The engine that runs students in evaluations, and its part in the keys of stages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from kdprobe.errors import UsageError
from kdprobe.evaluation.engines.engine import BUILT_IN, Engine, EngineStudent
from kdprobe.experiment.stages.plugin_key import plugin_key
from kdprobe.host.candidates import BUILTIN
from kdprobe.host.registry import Host
from kdprobe.models.reference import Dtype, ModelRecord
from kdprobe.students.student import Student

if TYPE_CHECKING:
    from kdprobe.models.shared_bases import SharedBases


@dataclass(frozen=True)
class ChosenEngine:
    """An engine, built when it is first needed.

    Attributes:
        host: The plugins.
        name: Its name.
        options: Its validated options, or `None` if it has none.
    """

    host: Host
    name: str
    options: Any

    @cached_property
    def engine(self) -> Engine:
        """The engine itself; raises like `Host.build`."""
        engine: Engine = self.host.build("engines", self.name, self.options)
        return engine

    @property
    def _is_built_in(self) -> bool:
        return bool(self.host.get("engines", self.name).provider.source == BUILTIN)

    def added_to(self, settings: dict[str, Any]) -> dict[str, Any]:
        """A stage's settings with everything of the engine that determines numbers.

        The built-in engine adds nothing, so that stores from before there were engines stay valid.
        """
        if self._is_built_in:
            return settings
        options = {} if self.options is None else self.options.model_dump(mode="json")
        environment = settings["environment"]
        libraries = environment["libraries"] | dict(self.engine.versions)
        return {
            **settings,
            "engine": {**plugin_key(self.host, "engines", self.name), "options": options},
            "environment": environment | {"libraries": libraries},
        }

    def load(self, student: Student, *, dtype: Dtype, bases: SharedBases) -> EngineStudent:
        """Loads a student; see `Engine.load`."""
        if student.adapter is not None or student.base.quantised_on_load:
            self.refuse_quantised(student.base)
        return self.engine.load(student, dtype=dtype, bases=bases)

    def refuse_quantised(self, base: ModelRecord) -> None:
        """Refuses students on a base whose weights stay quantised, unless the built-in engine runs them.

        Raises:
            UsageError: Another engine would have to quantise in the same way, or to merge adapters into the weights.
        """
        if base.is_packed and not self._is_built_in:
            raise UsageError(
                f"The weights of {base.name!r} are quantised ({base.quantisation}), and the engine {self.name!r} "
                "cannot run students on the same quantised weights with unmerged adapters.",
                f"Use the engine {BUILT_IN!r}, or weights that are not quantised.",
            )

    def close(self) -> None:
        """Releases what it has loaded; does not build it for that."""
        if "engine" in vars(self):
            self.engine.close()


def engine_name(settings: Mapping[str, Any]) -> str:
    """The name of the engine in a stage's settings."""
    return str(settings["engine"]["plugin"]) if "engine" in settings else BUILT_IN
