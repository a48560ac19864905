"""The students that a call of `probe` looked into, which can be loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from kdprobe.api.results.loadable import Loadable, NamedStudents
from kdprobe.errors import KdprobeError

if TYPE_CHECKING:
    from kdprobe.problems.problem import Problem
    from kdprobe.students.student import Student


@dataclass(frozen=True, repr=False)
class ProbedStudent(Loadable):
    """A student that was probed; weights are loaded only on request.

    Attributes:
        name: Its name.
        student: Its base model and its adapter.
        reader: The student whose chat template rendered the problems.
        problems: The problems that it read.
        digest: SHA-256 of its adapter, or `None` if it has none.
    """

    name: str
    student: Student
    reader: Student
    problems: Sequence[Problem]
    digest: str | None

    call: ClassVar[str] = "probe"

    def __repr__(self) -> str:
        return f"<ProbedStudent {self.name!r}>"

    @property
    def adapter(self) -> Path | None:
        """The folder of its adapter, or `None` for a model without one."""
        return self.student.adapter

    def _student(self) -> Student:
        from kdprobe.models.reference import resolve

        base = self.student.base
        if resolve(base.name, base.revision).digest != base.digest or _digest(self.student) != self.digest:
            raise KdprobeError(
                f"{self.name!r} has changed since the call to `kdprobe.{self.call}`.", "Repeat that call."
            )
        return self.student

    def _problems(self) -> Sequence[Problem]:
        return self.problems

    def _tokenizer(self, student: Student) -> Any:  # noqa: ARG002
        return self.reader.load_tokenizer()


class ProbedStudents(NamedStudents[ProbedStudent]):
    """The students that were probed, by name; empty if only attention patterns were.

    Args:
        students: All of them; the first is the one that the others are compared with.
        problems: What they read.
        template_of: Whose chat template rendered the problems; by default the first student's.
    """

    none = "only attention patterns were probed"
    advice = "Pass a model and its adapters to `kdprobe.probe` instead of patterns."

    def __init__(self, students: Sequence[Student], problems: Sequence[Problem], template_of: str | None) -> None:
        readers = {student.name: student for student in students}
        reader = readers.get(template_of or "", next(iter(students), None))
        super().__init__(
            {
                student.name: ProbedStudent(student.name, student, reader or student, problems, _digest(student))
                for student in students
            }
        )


def _digest(student: Student) -> str | None:
    from kdprobe.models.adapters import resolve_adapter

    return resolve_adapter(str(student.adapter)).digest if student.adapter else None
