"""Teachers whose model can be read directly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

from kdprobe.teachers.teacher import Teacher

if TYPE_CHECKING:
    from kdprobe.models.load import LoadedModel


@runtime_checkable
class LocalTeacher(Teacher, Protocol):
    """A teacher that runs in this process, so that its whole distributions can be read."""

    def loaded(self) -> LoadedModel:
        """Its model, loaded when first needed and kept; callers must not change it."""
