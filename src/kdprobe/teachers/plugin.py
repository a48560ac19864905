"""Registers the built-in teacher."""

from __future__ import annotations

from collections.abc import Iterator

from kdprobe.host.hookspecs import hookimpl
from kdprobe.host.specs import TeacherSpec
from kdprobe.teachers.transformers_teacher import TransformersOptions, TransformersTeacher


@hookimpl
def kdprobe_teachers() -> Iterator[TeacherSpec]:
    """`transformers`."""
    yield TeacherSpec(
        name="transformers",
        summary="A Hugging Face model; gives answers and log-probabilities",
        build=TransformersTeacher,
        options=TransformersOptions,
    )
