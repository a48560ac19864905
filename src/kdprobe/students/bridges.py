"""Many students inside TransformerLens: the adapters of one base share its weights and are switched, not reloaded."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from kdprobe.errors import KdprobeError
from kdprobe.models.load import LoadedModel
from kdprobe.models.merging.files import lies_beside
from kdprobe.models.merging.merge import attach
from kdprobe.models.shared_bases import SharedBases
from kdprobe.models.weights import same_weights
from kdprobe.students.bridge import BridgedStudent, boot, bridge_over, checked
from kdprobe.students.pattern_sources import Twins
from kdprobe.students.student import Student

_CHECKED_TOKENS = 64
"""Of each sequence of the self-check: patterns of several students are kept until they are compared."""


@dataclass
class _Base:
    """A loaded base with all adapters attached.

    Attributes:
        loaded: The base before anything was attached.
        models: The base, or the `PeftModel` around it, and the one that is inside TransformerLens.
        twins: What is inside them.
        current: Whose weights these are now.
    """

    loaded: LoadedModel
    models: tuple[Any, Any]
    twins: Twins
    current: str | None = None

    def take(self, student: Student) -> Twins:
        """Both, their weights those of one student."""
        if self.current != student.name:
            # Whoever interrupts this leaves nobody's weights behind.
            self.current = None
            for model in self.models:
                _switch(model, student)
            self.current = student.name
        return self.twins


class Bridges:
    """Boots students, each once; they may be used in any order and in turns.

    The first student of a base loads that base with the adapters of all its students. Where TransformerLens takes an
    architecture's weights apart, so that an adapter beside them has no effect, the self-check sees it, and that student
    is merged and loaded by itself.

    Args:
        students: All of them; names differ.
        check: Token id sequences of different lengths for the self-check of each.
        bases: Where base models are loaded; others may share it.
    """

    def __init__(
        self, students: Sequence[Student], check: Sequence[Sequence[int]], bases: SharedBases | None = None
    ) -> None:
        self._shared = SharedBases() if bases is None else bases
        self.students = {student.name: student for student in students}
        # Of different lengths: padding is part of the check.
        self._check = [list(sequence[: _CHECKED_TOKENS - index]) for index, sequence in enumerate(check)]
        self._bases: dict[str, _Base] = {}
        self._booted: dict[str, BridgedStudent] = {}

    def boot(self, name: str) -> BridgedStudent:
        """A student inside TransformerLens, checked against Hugging Face.

        Raises:
            KdprobeError: The self-check failed, or an adapter does not fit its base.
        """
        if name not in self._booted:
            student = self.students[name]
            self._booted[name] = self._beside(student) if _shares(student) else boot(student, self._check, self._shared)
        return self._booted[name]

    @property
    def errors(self) -> dict[str, dict[str, float]]:
        """Student to the largest differences in its self-check, of those that were booted."""
        return {
            name: {"logit_error": booted.logit_error, "pattern_error": booted.pattern_error}
            for name, booted in self._booted.items()
        }

    def _beside(self, student: Student) -> BridgedStudent:
        """On the base that it shares with others; by itself where its adapter has no effect there."""
        base = self._base(student)
        try:
            return checked(student.name, partial(base.take, student), base.loaded, self._check)
        except KdprobeError:
            if student.adapter is None:
                raise
            return boot(student, self._check, self._shared)

    def _base(self, student: Student) -> _Base:
        digest = student.base.digest
        if digest not in self._bases:
            sharing = [other for other in self.students.values() if other.base.digest == digest and _shares(other)]
            self._bases[digest] = _load(sharing, self._shared)
        return self._bases[digest]


def _shares(student: Student) -> bool:
    """Whether a student leaves the base as it is for others while its adapter lies beside the weights."""
    return student.adapter is None or lies_beside(student.adapter)


def _load(students: Sequence[Student], bases: SharedBases) -> _Base:
    base = bases.base(students[0].base, dtype="float32", attention="eager")
    adapters = {_adapter_name(student): student.adapter for student in students if student.adapter is not None}
    loaded = attach(base, adapters) if adapters else base
    bridged = same_weights(loaded.model)
    twins = Twins(_inside(loaded.model), bridge_over(base, _inside(bridged)))
    return _Base(base, (loaded.model, bridged), twins)


def _inside(model: Any) -> Any:
    """The model, without the `PeftModel` around it."""
    return model.get_base_model() if hasattr(model, "peft_config") else model


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
