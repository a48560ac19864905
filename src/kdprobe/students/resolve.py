"""Resolves students from the model and adapters named on the command line."""

from __future__ import annotations

from dataclasses import replace

from kdprobe.errors import UsageError
from kdprobe.models.adapters import Adapters, named_adapters
from kdprobe.models.conversation import PLAIN_CONVERSATION, Conversation
from kdprobe.models.devices.placement import Placement
from kdprobe.models.reference import Quantization, resolve, short_name
from kdprobe.students.replicates import named_replicate
from kdprobe.students.student import Student


def resolve_students(
    model: str,
    adapters: Adapters,
    against: str | None,
    conversation: Conversation = PLAIN_CONVERSATION,
    quantization: Quantization | None = None,
    *,
    placement: Placement | None = None,
) -> list[Student]:
    """The students; the first is the one that the others are compared with.

    Args:
        model: The base model, as an alias, folder, GGUF file or Hub id; it is one of the students.
        adapters: Paths by name, or a list of `PATH` or `NAME=PATH`; each is a student on top of the base. A name
            `ARM@SEED` sets arm and seed.
        against: What to compare with instead of the base: the name of one of the adapters, or another model.
        conversation: Variables for their chat templates, besides the messages.
        quantization: How to quantise the base model when it is loaded; by default, not at all.
        placement: How the weights of the models are spread over devices.

    Raises:
        UsageError: Something does not exist, or two students have the same name.
    """
    base = replace(resolve(model, quantization=quantization), conversation=conversation, placement=placement)
    students = [Student(short_name(model), base)]
    for name, record in named_adapters(adapters).items():
        arm, seed = named_replicate(name)
        students.append(Student(name, base, record.path, arm=arm, seed=seed))
    names = [student.name for student in students]
    if names[0] in names[1:]:
        raise UsageError(f"An adapter has the same name as the model: {names[0]!r}.", "Rename it: --adapter NAME=PATH.")
    if against in names:
        return sorted(students, key=lambda student: student.name != against)
    if against is None:
        return students
    name = short_name(against)
    other = replace(resolve(against), conversation=conversation, placement=placement)
    return [Student(name if name not in names else against, other), *students]
