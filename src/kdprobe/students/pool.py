"""What is loaded of students, and what was found out about them, once for all who look at them in one process."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar

from kdprobe.models.load import LoadedModel
from kdprobe.models.reference import Dtype
from kdprobe.models.shared_bases import SharedBases
from kdprobe.students.bridges import Bridges
from kdprobe.students.student import Student

Result = TypeVar("Result")


class StudentPool:
    """Students on shared bases.

    Attributes:
        bases: Their base models, each loaded once.
    """

    def __init__(self) -> None:
        self.bases = SharedBases()
        self._results: dict[Hashable, Any] = {}

    def merged(self, student: Student, *, dtype: Dtype = "float32") -> LoadedModel:
        """A student with its adapter merged; its weights are shared with others, and are not to be changed.

        Raises:
            KdprobeError: The base cannot be loaded, or the adapter does not fit it.
        """
        return self.bases.merged(student.base, student.adapter, dtype=dtype)

    def bridges(self, students: Sequence[Student], check: Sequence[Sequence[int]]) -> Bridges:
        """These students inside TransformerLens; the same ones for everybody who asks for them."""
        key = ("bridges", tuple(students), tuple(map(tuple, check)))
        return self.once(key, lambda: Bridges(students, check, self.bases))

    def __contains__(self, key: Hashable) -> bool:
        """Whether `once` has a result."""
        return key in self._results

    def once(self, key: Hashable, make: Callable[[], Result]) -> Result:
        """What `make` returns, made once: for what several analyses ask about the same students.

        Args:
            key: All that decides it.
            make: Makes it.
        """
        if key not in self._results:
            self._results[key] = make()
        result: Result = self._results[key]
        return result

    def clear(self) -> None:
        """Lets everything go."""
        self.bases.clear()
        self._results.clear()
