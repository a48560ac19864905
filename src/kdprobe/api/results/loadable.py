"""What a student can become: a merged model, a checked bridge, a folder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, NoReturn, TypeVar

from kdprobe.api.session import AnyPath, calling
from kdprobe.errors import KdprobeError, UsageError

if TYPE_CHECKING:
    from kdprobe.models.reference import Dtype
    from kdprobe.problems.problem import Problem
    from kdprobe.students.card import Card
    from kdprobe.students.export import Exported
    from kdprobe.students.sequence import ProblemSequence
    from kdprobe.students.student import Student

_CHECKED = 2
"""Problems of the self-check: two, so that one of them is padded."""


Loadables = TypeVar("Loadables", bound="Loadable")


class LoadedStudent(NamedTuple):
    """A student in memory: `model, tokenizer = student.load()`.

    Attributes:
        model: A transformers model with the adapter merged into it, or beside its weights if they are quantised; in
            evaluation mode.
        tokenizer: Its tokenizer; the chat template renders as it did when the student was tested.
    """

    model: Any
    tokenizer: Any


class Loadable(ABC):
    """A student; nothing is loaded until you ask for it."""

    @abstractmethod
    def _student(self) -> Student:
        """The student.

        Raises:
            KdprobeError: Its base model or its adapter is no longer what it was.
        """

    @abstractmethod
    def _problems(self) -> Sequence[Problem]:
        """Problems that the student has read."""

    def _tokenizer(self, student: Student) -> Any:
        """The tokenizer with which it read them."""
        return student.load_tokenizer()

    def _card(self, _student: Student, _library: Literal["peft", "transformers"]) -> Card | None:
        """Its model card, if its score is known."""
        return None

    def load(self, *, dtype: Dtype = "auto", progress: bool = True) -> LoadedStudent:
        """Loads the base model and merges the adapter into it, unless the base is quantised.

        Args:
            dtype: Data type of the weights; `auto` is float32 on a CPU and bfloat16 on a GPU.
            progress: Whether notes go to stderr.

        Raises:
            KdprobeError: The base model or the adapter has changed since the student was trained or read, or is
                damaged.
        """
        with calling(progress=progress):
            loaded = self._student().load(dtype=dtype)
            return LoadedStudent(loaded.model, loaded.tokenizer)

    def sequences(self, *, limit: int | None = None, progress: bool = True) -> list[ProblemSequence]:
        """Its problems as the token ids that kdprobe reads, in order: prompt, gold solution and end of turn.

        These are the problems that were probed or, in a run, the test problems, whose first ones are probed.

        Args:
            limit: Only the first N; by default all.
            progress: Whether notes go to stderr.

        Raises:
            KdprobeError: As `load`; or a gold value has no tokens of its own.
        """
        with calling(progress=progress):
            return self._sequences(self._student(), limit)

    def _sequences(self, student: Student, limit: int | None) -> list[ProblemSequence]:
        from kdprobe.students.sequence import problem_sequence

        tokenizer = self._tokenizer(student)
        return [problem_sequence(tokenizer, problem) for problem in self._problems()[:limit]]

    def to_transformer_lens(self, *, progress: bool = True) -> Any:
        """The student as a `TransformerBridge`: float32, eager attention, merged unless its base is quantised.

        Its logits and attention patterns are compared with those of Hugging Face on two of its problems.

        Args:
            progress: Whether notes go to stderr.

        Raises:
            KdprobeError: As `load`; or TransformerLens does not support the architecture, or disagrees with Hugging
                Face.
        """
        from kdprobe.students.bridge import boot

        with calling(progress=progress):
            student = self._student()
            checked = [sequence.ids for sequence in self._sequences(student, _CHECKED)]
            # Of different lengths: padding is part of the check.
            return boot(student, [ids[: len(ids) - index] for index, ids in enumerate(checked)]).bridge

    def export(self, folder: AnyPath, *, dtype: Dtype = "auto", progress: bool = True) -> Exported:
        """Writes it as a plain Hugging Face model, with a model card if its score is known; checks its logits.

        Args:
            folder: The folder to write to; new or empty.
            dtype: Data type of the weights.
            progress: Whether notes go to stderr.

        Raises:
            UsageError: The folder is not empty, or the base is quantised.
            KdprobeError: As `load`; or the exported model does not have the student's logits.
        """
        from kdprobe.students.export import export

        with calling(progress=progress):
            student = self._student()
            return export(student, Path(folder), dtype=dtype, card=self._card(student, "transformers"))


class NamedStudents(dict[str, Loadables]):
    """Students by name; possibly none at all.

    Attributes:
        none: Why there may be none, as the end of a sentence.
        advice: What to do about that.
    """

    none: ClassVar[str]
    advice: ClassVar[str]

    def __missing__(self, name: str) -> NoReturn:
        """Says why there is no such student.

        Raises:
            KdprobeError: There are no students at all.
            UsageError: No student has this name.
        """
        if not self:
            raise KdprobeError(f"The model {name!r} cannot be loaded: {self.none}.", self.advice)
        raise UsageError(f"There is no student {name!r}.", f"Available students: {', '.join(self)}.")
