"""Students of a finished run, which can be loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

from kdprobe.api.results.loadable import Loadable
from kdprobe.api.session import AnyPath, calling, open_store
from kdprobe.errors import KdprobeError

if TYPE_CHECKING:
    from kdprobe.experiment.arm_results import ArmResults
    from kdprobe.experiment.results import Results
    from kdprobe.experiment.store import Store
    from kdprobe.problems.problem import Problem
    from kdprobe.students.card import Card
    from kdprobe.students.student import Student


@dataclass(frozen=True, repr=False)
class RunStudent(Loadable):
    """A student of a finished run; weights are loaded only on request.

    Attributes:
        name: The name of its arm.
        run: The name of the run.
        results: The run's results.
        store: The store with the run.
    """

    name: str
    run: str
    results: Results
    store: Store

    def __repr__(self) -> str:
        return f"<RunStudent {self.name!r} of {self.run}>"

    @property
    def adapter(self) -> Path | None:
        """The folder of its adapter, or `None` for the untrained student."""
        return self._arm.adapter

    @property
    def caution(self) -> str:
        """What everyone who uses it must know; empty for most students."""
        caution: str = (self._arm.training or {}).get("caution", "")
        return caution

    def export_adapter(self, folder: AnyPath, *, progress: bool = True) -> Path:
        """Copies its adapter, with a model card that holds its score, its training and the run's config.

        Args:
            folder: The folder to write to; new or empty.
            progress: Whether notes go to stderr.

        Returns:
            The folder.

        Raises:
            UsageError: The folder is not empty, or the student is the untrained one.
            KdprobeError: As `load`.
        """
        from kdprobe.students.export import export_adapter

        with calling(progress=progress):
            student = self._student()
            export_adapter(student, Path(folder), self._card(student, "peft"))
            return Path(folder)

    def _card(self, student: Student, library: Literal["peft", "transformers"]) -> Card:
        from kdprobe.api.results.cards import run_card

        return run_card(self.results, self._arm, student.base, library)

    @property
    def _arm(self) -> ArmResults:
        return self.results.arm(self.name)

    def _student(self) -> Student:
        from dataclasses import replace

        from kdprobe.experiment.config import ConversationConfig, StudentConfig
        from kdprobe.models.public_names import with_hub_id
        from kdprobe.models.reference import resolve
        from kdprobe.students.student import Student

        record = self.results.record
        config = record["config"]["student"]
        resolved = resolve(config["model"], config["revision"], config.get("quantization"))
        base = with_hub_id(resolved, config.get("hub_id"))
        if base.digest != record["student"]["digest"]:
            raise KdprobeError(
                f"The model {base.name!r} has changed since run {self.run!r} used it.",
                "Run the experiment again.",
            )
        if self.adapter:
            self.store.checks.whole(self.adapter.parent)
        conversation = ConversationConfig.model_validate(record["config"].get("conversation", {})).conversation
        base = replace(base, conversation=conversation, placement=StudentConfig.model_validate(config).placement)
        return Student(self.name, base, self.adapter, self.caution)

    def _problems(self) -> Sequence[Problem]:
        from kdprobe.problems.problem import Problem

        return [Problem(**row) for row in self.results.record["problems"]["test"]]


class Students(dict[str, RunStudent]):
    """The students of a run by arm; if a strategy has only one arm, the strategy's own name finds it."""

    def __init__(self, results: Results, store: Store) -> None:
        super().__init__(
            {arm.name: RunStudent(arm.name, results.run, results, store) for arm in results.arms if not arm.diverged}
        )
        self._results = results

    def __missing__(self, name: str) -> RunStudent:
        """Finds the only arm of a strategy with this name.

        Raises:
            UsageError: The run has no such arm.
            KdprobeError: The arm has no student, because its training diverged.
        """
        arm = self._results.arm(name)
        if arm.diverged:
            _refuse(f"{self._results.run}/{arm.name}", arm.diverged)
        return self[arm.name]


def load_students(run: str, *, store: AnyPath | None = None) -> Students:
    """Returns the students of a finished run, without comparing their answers.

    Args:
        run: The run's name, or a unique prefix of it.
        store: The folder that holds stages and runs.

    Raises:
        UsageError: There is no such run, or it never finished.
        KdprobeError: A file of the run has changed since it was written.
    """
    from kdprobe.experiment.results import load_results

    with calling(progress=True):
        opened = open_store(store)
        return Students(load_results(opened, run), opened)


def _refuse(name: str, diverged: dict[str, Any]) -> NoReturn:
    from kdprobe.experiment.stages.distill import divergence_sentence

    raise KdprobeError(f"{name} has no student, because its training {divergence_sentence(diverged)}")
