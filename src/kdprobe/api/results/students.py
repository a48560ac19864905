"""Students of a finished run, which can be loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from kdprobe.api.session import AnyPath, calling, open_store
from kdprobe.errors import KdprobeError

if TYPE_CHECKING:
    from kdprobe.experiment.arm_results import ArmResults
    from kdprobe.experiment.results import Results
    from kdprobe.experiment.store import Store
    from kdprobe.models.reference import Dtype
    from kdprobe.problems.problem import Problem
    from kdprobe.students.export import Exported
    from kdprobe.students.student import Student

_CHECKED = 2
"""Number of problems in the self-check: two, so that one of them is padded."""


class LoadedStudent(NamedTuple):
    """A student in memory.

    Attributes:
        model: A plain transformers model with the adapter merged, in evaluation mode.
        tokenizer: Its tokenizer; the chat template renders as in the run.
    """

    model: Any
    tokenizer: Any


@dataclass(frozen=True, repr=False)
class RunStudent:
    """A student of a finished run; weights are loaded only on request.

    Attributes:
        name: The arm's name.
        run: The run's name.
        results: The run's results.
        store: The store with its adapter.
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

    def load(self, *, dtype: Dtype = "auto", progress: bool = True) -> LoadedStudent:
        """Loads the base model and merges the adapter into it.

        Args:
            dtype: Data type of the weights; `auto` is float32 on a CPU and bfloat16 on a GPU.
            progress: Whether to print notes to stderr.

        Raises:
            KdprobeError: The base model is no longer the one that was trained on, or the adapter is damaged.
        """
        with calling(progress=progress):
            loaded = self._student().load(dtype=dtype)
            return LoadedStudent(loaded.model, loaded.tokenizer)

    def to_transformer_lens(self, *, progress: bool = True) -> Any:
        """Returns the student as a `TransformerBridge`: merged, float32, eager attention.

        Its logits and attention patterns are compared with those in Hugging Face on two of the run's test problems.

        Args:
            progress: Whether to print notes to stderr.

        Raises:
            KdprobeError: As `load`; or TransformerLens does not know the architecture, or disagrees with Hugging Face.
        """
        from kdprobe.students.bridge import boot
        from kdprobe.students.sequence import problem_sequence

        with calling(progress=progress):
            student = self._student()
            tokenizer = student.load_tokenizer()
            checked = [problem_sequence(tokenizer, problem).ids for problem in self._problems[:_CHECKED]]
            # Problems of different lengths, so that the check includes padding.
            return boot(student, [ids[: len(ids) - index] for index, ids in enumerate(checked)]).bridge

    def export(self, folder: AnyPath, *, dtype: Dtype = "auto", progress: bool = True) -> Exported:
        """Writes the student as a plain Hugging Face model, reads that back, and compares the logits.

        Args:
            folder: The folder to write to; new or empty.
            dtype: Data type of the weights.
            progress: Whether to print notes to stderr.

        Raises:
            UsageError: The folder is not empty.
            KdprobeError: As `load`; or the written model does not have the student's logits.
        """
        from kdprobe.students.export import export

        with calling(progress=progress):
            return export(self._student(), Path(folder), dtype=dtype)

    @property
    def _arm(self) -> ArmResults:
        return self.results.arm(self.name)

    @property
    def _problems(self) -> Sequence[Problem]:
        from kdprobe.problems.problem import Problem

        return [Problem(**row) for row in self.results.record["problems"]["test"]]

    def _student(self) -> Student:
        from dataclasses import replace

        from kdprobe.experiment.config import ConversationConfig
        from kdprobe.models.reference import resolve
        from kdprobe.students.student import Student

        record = self.results.record
        base = resolve(record["config"]["student"]["model"], record["config"]["student"]["revision"])
        if base.digest != record["student"]["digest"]:
            raise KdprobeError(
                f"The model {base.name!r} is no longer the one that {self.run} trained on.", "Run the experiment again."
            )
        if self.adapter:
            self.store.checks.whole(self.adapter.parent)
        conversation = ConversationConfig.model_validate(record["config"].get("conversation", {})).conversation
        return Student(self.name, replace(base, conversation=conversation), self.adapter, self.caution)


class Students(dict[str, RunStudent]):
    """The students of a run by arm; a strategy's own name finds its only arm."""

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
        store: The folder of stages and runs.

    Raises:
        UsageError: The run does not exist or never finished.
        KdprobeError: A file of the run was changed after it was written.
    """
    from kdprobe.experiment.results import load_results

    with calling(progress=True):
        opened = open_store(store)
        return Students(load_results(opened, run), opened)


def _refuse(name: str, diverged: dict[str, Any]) -> NoReturn:
    from kdprobe.experiment.stages.distill import divergence_sentence

    raise KdprobeError(f"{name} has no student: its training {divergence_sentence(diverged)}")
