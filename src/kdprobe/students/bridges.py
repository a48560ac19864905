"""Many students inside TransformerLens: the adapters of one base share its weights and are switched, not reloaded."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from kdprobe.errors import KdprobeError
from kdprobe.models.adapters import attach
from kdprobe.models.load import LoadedModel, load
from kdprobe.students.bridge import BridgedStudent, Reference, boot, bridge_over, checked, hugging_face
from kdprobe.students.student import Student

_CHECKED_TOKENS = 64
"""Of each sequence of the self-check: patterns of several students are kept until they are compared."""


@dataclass
class _Base:
    """A loaded base with all adapters attached.

    Attributes:
        model: The base, or the `PeftModel` around it.
        bridge: Over the base's own modules.
        tokenizer: The base's.
        references: Student to what Hugging Face says of it.
    """

    model: Any
    bridge: Any
    tokenizer: Any
    references: dict[str, Reference]


class Bridges:
    """Boots students one after the other, or in turns.

    The first student of a base loads that base with the adapters of all its students. Where TransformerLens takes an
    architecture's weights apart, so that an adapter beside them has no effect, the self-check sees it, and that student
    is merged and loaded by itself.

    Args:
        students: All of them; names differ.
        check: Token id sequences of different lengths for the self-check of each.
    """

    def __init__(self, students: Sequence[Student], check: Sequence[Sequence[int]]) -> None:
        self.students = {student.name: student for student in students}
        self._check = [list(sequence[:_CHECKED_TOKENS]) for sequence in check]
        self._bases: dict[str, _Base] = {}
        self._booted: dict[str, BridgedStudent] = {}
        self._merged: set[str] = set()

    def boot(self, name: str) -> BridgedStudent:
        """A student inside TransformerLens, checked against Hugging Face.

        It is this student until the next call; then its bridge may be another's.

        Raises:
            KdprobeError: The self-check failed, or an adapter does not fit its base.
        """
        student = self.students[name]
        if name not in self._merged:
            base = self._base(student)
            _switch(base.model, student)
            if name not in self._booted:
                try:
                    self._booted[name] = checked(name, base.bridge, base.tokenizer, base.references[name])
                except KdprobeError:
                    if student.adapter is None:
                        raise
                    self._booted[name] = boot(student, self._check)
                    self._merged.add(name)
        return self._booted[name]

    @property
    def errors(self) -> dict[str, dict[str, float]]:
        """Student to the largest differences in its self-check, of those that were booted."""
        return {
            name: {"logit_error": booted.logit_error, "pattern_error": booted.pattern_error}
            for name, booted in self._booted.items()
        }

    def _base(self, student: Student) -> _Base:
        digest = student.base.digest
        if digest not in self._bases:
            sharing = [other for other in self.students.values() if other.base.digest == digest]
            self._bases[digest] = _load(sharing, self._check)
        return self._bases[digest]


def _load(students: Sequence[Student], check: Sequence[Sequence[int]]) -> _Base:
    base = load(students[0].base, dtype="float32", attention="eager")
    loaded: LoadedModel = base
    for student in students:
        if student.adapter is not None:
            loaded = attach(loaded, student.adapter, _adapter_name(student))
    references = {}
    for student in students:
        _switch(loaded.model, student)
        references[student.name] = hugging_face(loaded, check)
    bridge = bridge_over(replace(base, model=base.model))
    return _Base(loaded.model, bridge, base.tokenizer, references)


def _switch(model: Any, student: Student) -> None:
    """Makes the weights those of one student."""
    if not hasattr(model, "peft_config"):
        return
    if student.adapter is None:
        model.base_model.disable_adapter_layers()
    else:
        model.base_model.enable_adapter_layers()
        model.set_adapter(_adapter_name(student))


def _adapter_name(student: Student) -> str:
    # peft makes module names of them, in which not every name of a student can stand.
    return f"student_{hashlib.sha256(student.name.encode()).hexdigest()[:16]}"
