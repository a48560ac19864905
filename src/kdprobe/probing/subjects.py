"""Who is probed from the command line, and on what: students by model and adapters, problems by file or source."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdprobe.errors import UsageError
from kdprobe.models.adapters import SHIPPED_PREFIX, resolve_adapter
from kdprobe.models.reference import resolve
from kdprobe.problems.draw import refuse_twins
from kdprobe.problems.problem import Problem
from kdprobe.problems.sources import jsonl
from kdprobe.students.student import Student

if TYPE_CHECKING:
    from kdprobe.host.registry import Host


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
    students = [Student(_model_name(model), base)]
    for text in adapters:
        name, given, path = text.partition("=")
        place = path if given and not Path(text).exists() else text
        record = resolve_adapter(place)
        students.append(Student(name if place == path else _adapter_name(text), base, record.path))
    names = [student.name for student in students]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(f"Two students are called {twice[0]!r}.", "Give them names: --adapter NAME=PATH.")
    if against in names:
        return sorted(students, key=lambda student: student.name != against)
    if against is None:
        return students
    name = _model_name(against)
    return [Student(name if name not in names else against, resolve(against)), *students]


def problems_of(host: Host, named: str, count: int, options: Mapping[str, Any]) -> list[Problem]:
    """The first test problems of a source, or of a file of JSON lines.

    Args:
        host: Who provides sources.
        named: A problem source, or a file.
        count: How many at most.
        options: The source's.

    Raises:
        KdprobeError: There are none, or two ask the same.
    """
    source: Iterable[Problem]
    if Path(named).suffix == ".jsonl" or Path(named).is_file():
        source = jsonl.read(Path(named))
    else:
        source = host.make("problem-sources", named, dict(options))("test")
    problems = list(islice(source, count))
    refuse_twins(problems, "test")
    return problems


def _model_name(model: str) -> str:
    return Path(model).expanduser().resolve().name if Path(model).is_dir() else Path(model).name


def _adapter_name(text: str) -> str:
    if text.startswith(SHIPPED_PREFIX):
        return text.removeprefix(SHIPPED_PREFIX)
    return Path(text).expanduser().resolve().name
