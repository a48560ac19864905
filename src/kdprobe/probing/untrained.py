"""The untrained model, and students whose distributions cannot be compared with its own."""

from __future__ import annotations

from collections.abc import Sequence

from kdprobe.errors import KdprobeError, UsageError
from kdprobe.models.conversation import tokenizer_digest
from kdprobe.students.student import UNTRAINED, Student


def untrained_of(students: Sequence[Student]) -> Student:
    """The model that students are compared with: the first student, without its adapter if it has one."""
    first = students[0]
    if first.adapter is None:
        return first
    base = [student for student in students if student.adapter is None and student.base.weights == first.base.weights]
    taken = any(student.name == UNTRAINED for student in students)
    return base[0] if base else Student(f"{UNTRAINED} model" if taken else UNTRAINED, first.base)


def trained_students(untrained: Student, chosen: Sequence[Student], analysis: str) -> list[Student]:
    """The students that an analysis compares with the untrained model.

    Args:
        untrained: The untrained model.
        chosen: The students that the analysis was told to examine.
        analysis: The analysis's name, as it begins a sentence.

    Raises:
        UsageError: One has another vocabulary.
        KdprobeError: There are none.
    """
    students = [student for student in chosen if student != untrained]
    if not students:
        raise KdprobeError(
            f"{analysis} needs a student besides the untrained model {untrained.name!r}.",
            "Add a student, such as an adapter.",
        )
    _refuse_other_vocabularies(untrained, students)
    return students


def _refuse_other_vocabularies(untrained: Student, students: Sequence[Student]) -> None:
    vocabularies: dict[object, str] = {}
    expected = tokenizer_digest(untrained.load_tokenizer())
    for student in students:
        if student.reader == untrained.reader:
            continue
        if student.reader not in vocabularies:
            vocabularies[student.reader] = tokenizer_digest(student.load_tokenizer())
        if vocabularies[student.reader] != expected:
            raise UsageError(
                f"{student.name!r} has a different vocabulary from the untrained model {untrained.name!r}.",
                "Distributions over different tokens cannot be compared; leave this student out.",
            )
