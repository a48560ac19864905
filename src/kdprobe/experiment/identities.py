"""What decides what a stage makes, as its key says it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdprobe.experiment.config import Experiment
from kdprobe.experiment.mistakes import GOLD, TEXT_FILE
from kdprobe.experiment.store import digest
from kdprobe.host.registry import Host
from kdprobe.models.reference import ModelRecord, digest_files
from kdprobe.problems.draw import Draw
from kdprobe.problems.problem import Problem
from kdprobe.strategies.prompt_pair import PromptPair


@dataclass(frozen=True)
class Identities:
    """Of the parts of one experiment.

    Attributes:
        experiment: Its config.
        host: The plugins.
        student: The base model.
        drawn: The problems.
    """

    experiment: Experiment
    host: Host
    student: ModelRecord
    drawn: Draw

    def plugin(self, kind: str, name: str) -> dict[str, str]:
        """The plugin behind a spec."""
        return plugin_identity(self.host, kind, name)

    def problems(self, problems: tuple[Problem, ...]) -> dict[str, Any]:
        """Where problems come from, and what they say."""
        return {"source": self.source(), "digest": digest([problem.as_row() for problem in problems])}

    def source(self) -> dict[str, str]:
        """The plugin that the problems come from."""
        return self.plugin("problem-sources", self.experiment.problems.source)

    def strategy(self, arm: str) -> dict[str, str]:
        """Which plugin rendered the conversations of an arm, as this run calls it."""
        name = next(strategy.name for strategy in self.experiment.strategies if strategy.arm == arm)
        return self.plugin("strategies", name)

    def teacher(self, teacher: Any, conversations: Mapping[str, PromptPair]) -> dict[str, Any]:
        """What of a teacher, and of what it reads, decides what it says."""
        return {
            "teacher": teacher.provenance,
            "plugin": self.plugin("teachers", self.experiment.teacher.name),
            "conversations": digest({id_: pair.teacher for id_, pair in conversations.items()}),
        }

    def texts(self) -> Any:
        """What decides the texts of the transfer sets besides the teacher; a strategy's are an input stage."""
        texts = self.experiment.transfer.texts
        if texts == GOLD:
            return self.problems(self.drawn.transfer)
        if texts.endswith(TEXT_FILE):
            return digest_files([Path(texts)]) if Path(texts).is_file() else None
        return None


def plugin_identity(host: Host, kind: str, name: str) -> dict[str, str]:
    """Name, version and source hash of the plugin behind a spec."""
    provider = host.get(kind, name).provider
    return {"plugin": provider.name, "version": provider.version, "source": provider.source_hash}
