"""Who is probed from the command line, and on what: students by model and adapters, problems by file or source."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from kdprobe.errors import KdprobeError, UsageError
from kdprobe.models.adapters import named_adapters
from kdprobe.models.reference import resolve, short_name
from kdprobe.problems.draw import Source, refuse_twins
from kdprobe.problems.problem import Problem
from kdprobe.students.student import Student


def students_of(model: str, adapters: Sequence[str], against: str | None) -> list[Student]:
    """The students, the one that others are compared with first.

    Args:
        model: The base, by alias, folder, GGUF file or id of the Hub; itself one of the students.
        adapters: `PATH` or `NAME=PATH`; each is a student on top of the base.
        against: Whom to compare with instead of the base: the name of one of the adapters, or another model.

    Raises:
        UsageError: Something is not there, or two have one name.
    """
    base = resolve(model)
    students = [Student(short_name(model), base)]
    students += [Student(name, base, record.path) for name, record in named_adapters(adapters).items()]
    names = [student.name for student in students]
    if names[0] in names[1:]:
        raise UsageError(f"An adapter is called {names[0]!r}, as the model is.", "Give it a name: --adapter NAME=PATH.")
    if against in names:
        return sorted(students, key=lambda student: student.name != against)
    if against is None:
        return students
    name = short_name(against)
    return [Student(name if name not in names else against, resolve(against)), *students]


def first_problems(source: Source, limit: int) -> list[Problem]:
    """The first test problems of a source, as many as there are.

    Raises:
        KdprobeError: There are none, or two ask the same.
    """
    problems = list(islice(source("test"), limit))
    if not problems:
        raise KdprobeError("The problem source has no test problems.", "Name another with --problems.")
    refuse_twins(problems, "test")
    return problems
