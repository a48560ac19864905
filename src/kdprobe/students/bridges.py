"""Many students in TransformerLens: adapters share the weights of their base and are switched, not reloaded."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from kdprobe.errors import KdprobeError
from kdprobe.models.devices.spread import refuse_offloaded
from kdprobe.models.load import LoadedModel
from kdprobe.models.merging.files import lies_beside
from kdprobe.models.merging.merge import attach
from kdprobe.models.merging.random_update import random_update
from kdprobe.models.reference import Precision
from kdprobe.models.shared_bases import SharedBases
from kdprobe.models.weights import same_weights
from kdprobe.students.bridge import BridgedStudent, boot, bridge_over, checked
from kdprobe.students.pattern_sources import Twins
from kdprobe.students.rounding import LayerRounding, layer_roundings, refuse_rough
from kdprobe.students.student import Student

_CHECKED_TOKENS = 64
"""Tokens of each sequence in the self-check; limited because the patterns of several students are held in memory."""


@dataclass
class _Base:
    """A loaded base with all adapters attached.

    Attributes:
        loaded: The base without adapters.
        models: The base, or the `PeftModel` around it, and its twin in TransformerLens.
        twins: The models inside these.
        current: The student whose weights are active.
    """

    loaded: LoadedModel
    models: tuple[Any, Any]
    twins: Twins
    current: str | None = None

    def take(self, student: Student) -> Twins:
        """Both models, with the weights of this student."""
        if self.current != student.name:
            # If this is interrupted, no student's weights are considered active.
            self.current = None
            for model in self.models:
                _switch(model, student)
            self.current = student.name
        return self.twins


class Bridges:
    """Boots students, each once; they may be used in any order, and held at the same time.

    The first student of a base loads that base with the adapters of all its students. For some architectures,
    TransformerLens copies weights, so that an unmerged adapter has no effect. The self-check detects this, and the
    student is then merged and loaded separately.

    Args:
        students: All students; their names must be unique.
        check: Token id sequences of different lengths for the self-checks.
        bases: The pool that loads base models; others may share it.
        dtype: Data type of the weights. Patterns of students in 16 bits are compared with float32 when they are booted.
    """

    def __init__(
        self,
        students: Sequence[Student],
        check: Sequence[Sequence[int]],
        bases: SharedBases | None = None,
        dtype: Precision = "float32",
    ) -> None:
        self._shared = SharedBases() if bases is None else bases
        self.students = {student.name: student for student in students}
        self.dtype = dtype
        self._sequences = check
        # Of different lengths, so that padding is checked too.
        self._check = [list(sequence[: _CHECKED_TOKENS - index]) for index, sequence in enumerate(check)]
        self._bases: dict[Hashable, _Base] = {}
        self._booted: dict[str, BridgedStudent] = {}
        self._roundings: dict[str, list[LayerRounding]] = {}

    def boot(self, name: str) -> BridgedStudent:
        """A student in TransformerLens, checked against Hugging Face.

        Raises:
            KdprobeError: The self-check failed, an adapter does not fit its base, or rounding changes its patterns too
                much.
        """
        if name not in self._booted:
            student = self.students[name]
            booted = self._beside(student) if _shares(student) else self._alone(student)
            if self.dtype != "float32":
                roundings = layer_roundings(booted, self._sequences)
                refuse_rough(name, roundings, self.dtype)
                self._roundings[name] = roundings
            self._booted[name] = booted
        return self._booted[name]

    @property
    def roundings(self) -> dict[str, list[LayerRounding]]:
        """For each booted student in 16 bits, how far its patterns are from float32 in some layers."""
        return dict(self._roundings)

    def has_factors(self, name: str) -> bool:
        """Whether a student's update is an unmerged LoRA on its base, which `randomised` can exchange."""
        return self.boot(name).shared and self.students[name].adapter is not None

    @contextmanager
    def randomised(self, name: str, seed: str) -> Iterator[BridgedStudent]:
        """A student with a random update of the same size in place of its own, while the context is open.

        Its own is restored exactly. The base and the other students do not change, and no model is copied.

        Args:
            name: A student for which `has_factors` is true.
            seed: Of the random update.
        """
        student = self.boot(name)
        with random_update(student.take().model, _adapter_name(self.students[name]), seed):
            yield student

    @property
    def errors(self) -> dict[str, dict[str, float]]:
        """The largest differences in the self-check of each booted student."""
        return {
            name: {"logit_error": booted.logit_error, "pattern_error": booted.pattern_error}
            for name, booted in self._booted.items()
        }

    def _beside(self, student: Student) -> BridgedStudent:
        """The student on the base it shares with others, or on its own if its adapter has no effect there."""
        base = self._base(student)
        try:
            booted = checked(student.name, partial(base.take, student), base.loaded, self._check)
            return replace(booted, shared=True)
        except KdprobeError:
            if student.adapter is None:
                raise
            return self._alone(student)

    def _alone(self, student: Student) -> BridgedStudent:
        """The student merged, with modules of its own."""
        return boot(student, self._check, self._shared, self.dtype)

    def _base(self, student: Student) -> _Base:
        weights = student.base.weights
        if weights not in self._bases:
            sharing = [other for other in self.students.values() if other.base.weights == weights and _shares(other)]
            self._bases[weights] = _load(sharing, self._shared, self.dtype)
        return self._bases[weights]


def _shares(student: Student) -> bool:
    """Whether a student can share its base: it has no adapter, or one that leaves the base's weights unchanged."""
    return student.adapter is None or lies_beside(student.adapter)


def _load(students: Sequence[Student], bases: SharedBases, dtype: Precision) -> _Base:
    base = bases.base(students[0].base, dtype=dtype, attention="eager")
    refuse_offloaded(base, "Probing")
    adapters = {_adapter_name(student): student.adapter for student in students if student.adapter is not None}
    loaded = attach(base, adapters) if adapters else base
    bridged = same_weights(loaded.model)
    twins = Twins(_inside(loaded.model), bridge_over(base, _inside(bridged)))
    return _Base(base, (loaded.model, bridged), twins)


def _inside(model: Any) -> Any:
    """The model, without the `PeftModel` around it."""
    return model.get_base_model() if hasattr(model, "peft_config") else model


def _switch(model: Any, student: Student) -> None:
    """Activates the weights of one student."""
    if not hasattr(model, "peft_config"):
        return
    if student.adapter is None:
        model.base_model.disable_adapter_layers()
    else:
        model.base_model.enable_adapter_layers()
        model.set_adapter(_adapter_name(student))


def _adapter_name(student: Student) -> str:
    # peft uses them in module names, which do not allow every student's name.
    return f"student_{hashlib.sha256(student.name.encode()).hexdigest()[:16]}"
