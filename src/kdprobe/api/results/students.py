"""A student of a finished run, ready to be loaded."""

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
"""Problems of the self-check: two, so that one of them is padded."""


class LoadedStudent(NamedTuple):
    """A student in memory.

    Attributes:
        model: A plain transformers model, the adapter merged into it, in evaluation mode.
        tokenizer: What it reads with; its chat template renders as in the run.
    """

    model: Any
    tokenizer: Any


@dataclass(frozen=True, repr=False)
class RunStudent:
    """A student of a finished run; nothing is loaded before it is asked for.

    Attributes:
        name: The arm's.
        run: The run's.
        results: The run.
        store: Where its adapter is.
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
        """What everybody must know who uses it; empty for most."""
        caution: str = (self._arm.training or {}).get("caution", "")
        return caution

    def load(self, *, dtype: Dtype = "auto", progress: bool = True) -> LoadedStudent:
        """Loads the base model and merges the adapter into it.

        Args:
            dtype: Data type of the weights; `auto` is float32 on a CPU and bfloat16 on a GPU.
            progress: Whether notes go to stderr.

        Raises:
            KdprobeError: The base model is no longer the one that was trained on, or the adapter is damaged.
        """
        with calling(progress=progress):
            loaded = self._student().load(dtype=dtype)
            return LoadedStudent(loaded.model, loaded.tokenizer)

    def to_transformer_lens(self, *, progress: bool = True) -> Any:
        """The student as a `TransformerBridge`: merged, float32, eager attention.

        Its logits and attention patterns are compared with those of Hugging Face on two of the run's test problems.

        Args:
            progress: Whether notes go to stderr.

        Raises:
            KdprobeError: As `load`; or TransformerLens does not know the architecture, or disagrees with Hugging Face.
        """
        from kdprobe.students.bridge import boot
        from kdprobe.students.sequence import problem_sequence

        with calling(progress=progress):
            student = self._student()
            tokenizer = student.load_tokenizer()
            checked = [problem_sequence(tokenizer, problem).ids for problem in self._problems[:_CHECKED]]
            # Of different lengths: padding is part of the check.
            return boot(student, [ids[: len(ids) - index] for index, ids in enumerate(checked)]).bridge

    def export(self, folder: AnyPath, *, dtype: Dtype = "auto", progress: bool = True) -> Exported:
        """Writes it as a plain Hugging Face model with a model card, reads it back, and compares the logits.

        Args:
            folder: Where to; new or empty.
            dtype: Data type of the weights.
            progress: Whether notes go to stderr.

        Raises:
            UsageError: There is something in the folder already.
            KdprobeError: As `load`; or what was written does not give the student's logits.
        """
        from kdprobe.api.results.cards import run_card
        from kdprobe.students.export import export

        with calling(progress=progress):
            student = self._student()
            card = run_card(self.results, self._arm, student.base, "transformers")
            return export(student, Path(folder), dtype=dtype, card=card)

    def export_adapter(self, folder: AnyPath, *, progress: bool = True) -> Path:
        """Copies its adapter, with a model card that holds its score, its training and the run's config.

        Args:
            folder: Where to; new or empty.
            progress: Whether notes go to stderr.

        Returns:
            The folder.

        Raises:
            UsageError: There is something in the folder already, or the student is the untrained one.
            KdprobeError: As `load`.
        """
        from kdprobe.api.results.cards import run_card
        from kdprobe.students.export import export_adapter

        with calling(progress=progress):
            student = self._student()
            export_adapter(student, Path(folder), run_card(self.results, self._arm, student.base, "peft"))
            return Path(folder)

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
    """The students of a run by arm; a strategy's own name finds the only arm that it has."""

    def __init__(self, results: Results, store: Store) -> None:
        super().__init__(
            {arm.name: RunStudent(arm.name, results.run, results, store) for arm in results.arms if not arm.diverged}
        )
        self._results = results

    def __missing__(self, name: str) -> RunStudent:
        """Looks for a strategy of this name.

        Raises:
            UsageError: The run has no such arm.
            KdprobeError: The arm has no student, because its training diverged.
        """
        arm = self._results.arm(name)
        if arm.diverged:
            _refuse(f"{self._results.run}/{arm.name}", arm.diverged)
        return self[arm.name]


def load_students(run: str, *, store: AnyPath | None = None) -> Students:
    """The students of a finished run, without the comparison of their answers.

    Args:
        run: The run's name, or a beginning that no other run's name has.
        store: The folder of stages and runs.

    Raises:
        UsageError: There is no such run, or it never finished.
        KdprobeError: Something that is read of it is not what was written.
    """
    from kdprobe.experiment.results import load_results

    with calling(progress=True):
        opened = open_store(store)
        return Students(load_results(opened, run), opened)


def _refuse(name: str, diverged: dict[str, Any]) -> NoReturn:
    from kdprobe.experiment.stages.distill import divergence_sentence

    raise KdprobeError(f"{name} is no student: its training {divergence_sentence(diverged)}")
