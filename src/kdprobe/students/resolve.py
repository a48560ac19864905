"""Students by model and adapters, as a command line names them."""

from __future__ import annotations

from dataclasses import replace

from kdprobe.errors import UsageError
from kdprobe.models.adapters import Adapters, named_adapters
from kdprobe.models.conversation import PLAIN_CONVERSATION, Conversation
from kdprobe.models.reference import resolve, short_name
from kdprobe.students.replicates import named_replicate
from kdprobe.students.student import Student


def resolve_students(
    model: str, adapters: Adapters, against: str | None, conversation: Conversation = PLAIN_CONVERSATION
) -> list[Student]:
    """The students, the one that others are compared with first.

    Args:
        model: The base, by alias, folder, GGUF file or id of the Hub; itself one of the students.
        adapters: Name to path, or `PATH` or `NAME=PATH` each; each is a student on top of the base. A name `ARM@SEED`
            says arm and seed.
        against: What to compare with instead of the base: the name of one of the adapters, or another model.
        conversation: What their chat templates are told besides the messages.

    Raises:
        UsageError: Something is not there, or two have one name.
    """
    base = replace(resolve(model), conversation=conversation)
    students = [Student(short_name(model), base)]
    for name, record in named_adapters(adapters).items():
        arm, seed = named_replicate(name)
        students.append(Student(name, base, record.path, arm=arm, seed=seed))
    names = [student.name for student in students]
    if names[0] in names[1:]:
        raise UsageError(f"An adapter is called {names[0]!r}, as the model is.", "Give it a name: --adapter NAME=PATH.")
    if against in names:
        return sorted(students, key=lambda student: student.name != against)
    if against is None:
        return students
    name = short_name(against)
    other = replace(resolve(against), conversation=conversation)
    return [Student(name if name not in names else against, other), *students]
