"""Loaded students and results about them, shared by all analyses in one process."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self, TypeVar

from kdprobe.models.reference import Dtype, Precision
from kdprobe.students.student import Student

if TYPE_CHECKING:
    from kdprobe.models.load import LoadedModel
    from kdprobe.models.shared_bases import SharedBases
    from kdprobe.students.bridges import Bridges

Result = TypeVar("Result")


class StudentPool:
    """Students on shared bases; torch is imported when the first one is loaded. As a context manager, it is cleared."""

    def __init__(self) -> None:
        self._results: dict[Hashable, Any] = {}
        self._closers: list[Callable[[], None]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.clear()

    @cached_property
    def bases(self) -> SharedBases:
        """The base models, each loaded once."""
        from kdprobe.models.shared_bases import SharedBases

        return SharedBases()

    def opened(self, close: Callable[[], None]) -> None:
        """Registers `close`, to be called by `close_opened`."""
        self._closers.append(close)

    def close_opened(self) -> None:
        """Closes what was `opened`, since training and analyses need its memory; evaluations open it again."""
        for close in self._closers:
            close()

    def loaded(self, student: Student, *, dtype: Dtype = "float32") -> LoadedModel:
        """A student with its adapter merged, or beside its base if that is quantised.

        Its weights are shared with others and must not be changed.

        Raises:
            KdprobeError: The base cannot be loaded, the adapter does not fit it, it can be neither merged nor beside
                the base, or the devices have no room for all weights.
        """
        from kdprobe.models.devices.spread import refuse_offloaded

        loaded = self.bases.student(student.base, student.adapter, dtype=dtype)
        refuse_offloaded(loaded, "Probing")
        return loaded

    def bridges(
        self, students: Sequence[Student], check: Sequence[Sequence[int]], dtype: Precision = "float32"
    ) -> Bridges:
        """These students in TransformerLens; the same call returns the same object."""
        from kdprobe.students.bridges import Bridges

        key = ("bridges", tuple(students), tuple(map(tuple, check)), dtype)
        return self.once(key, lambda: Bridges(students, check, self.bases, dtype))

    def __contains__(self, key: Hashable) -> bool:
        """Whether `once` has a result."""
        return key in self._results

    def once(self, key: Hashable, make: Callable[[], Result]) -> Result:
        """The result of `make`, computed only once, for results that several analyses need.

        Args:
            key: Everything that determines the result.
            make: Computes the result.
        """
        if key not in self._results:
            self._results[key] = make()
        result: Result = self._results[key]
        return result

    def clear(self) -> None:
        """Releases everything."""
        self.close_opened()
        self.bases.clear()
        self._results.clear()
