"""What `circuits` measures of one student."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from kdprobe.console import progress
from kdprobe.probing.circuits.division import Division
from kdprobe.probing.circuits.effects import Switched, Update, gold_log_p, refuse_incomplete, switched_effects
from kdprobe.probing.circuits.groups import EVERYTHING, Group, groups_of
from kdprobe.probing.circuits.labels import ATTENTION, Circuit
from kdprobe.probing.circuits.screening import screened_updates
from kdprobe.probing.circuits.selection import CircuitSelection
from kdprobe.probing.interventions.gain import Gain
from kdprobe.students.sequence import ProblemSequence


@dataclass(frozen=True)
class ScreenedStudent:
    """The effects of groups of a student's circuits, and first-order estimates of those of single circuits.

    Attributes:
        student: The student's name.
        arm: Its arm.
        against: The name of its base.
        gain: What training gained.
        error: How far the base with everything on is from the student, in nats.
        same: Whether training changed nothing.
        rest_kinds: What it changed outside the circuits.
        groups: The groups, and their effects, exactly.
        group_effects: `[problem, group, target]`.
        screened: The circuits of attention that training changed.
        screened_effects: Their effects to first order, `[problem, circuit, target]`.
    """

    student: str
    arm: str
    against: str
    gain: Gain
    error: float
    same: bool
    rest_kinds: list[str]
    groups: list[Group]
    group_effects: Switched
    screened: list[Circuit]
    screened_effects: Switched


@dataclass(frozen=True)
class MeasuredStudent(ScreenedStudent):
    """The effects of parts of a student's update.

    Attributes:
        selection: The circuits that were switched one by one, and those that each fold's earlier problems selected.
        exact: The selected circuits, then all circuits of attention that training did not change.
        exact_effects: Their effects, exactly, `[problem, circuit, target]`.
    """

    selection: CircuitSelection
    exact: list[Circuit]
    exact_effects: Switched

    @property
    def chosen(self) -> list[Circuit]:
        """The circuits that were switched one by one, the first of the screening first."""
        return self.selection.chosen


def screened_student(
    division: Division, sequences: Sequence[ProblemSequence], student: str, arm: str, against: str, *, by_layer: bool
) -> ScreenedStudent:
    """Switches the groups, and screens the circuits of attention.

    Args:
        division: The base, the student, and what training changed.
        sequences: What they read.
        student: The student's name.
        arm: Its arm.
        against: The name of its base.
        by_layer: Whether to switch each layer's attention and MLP too.

    Raises:
        KdprobeError: The base with everything on is not the student.
    """
    after, before = (gold_log_p(each, len(each.tokenizer), sequences) for each in (division.student, division.base))
    gain = Gain.between(after, before)
    groups = groups_of(division, by_layer=by_layer)
    group_effects = _switched(division, [group.update for group in groups], sequences, f"Groups of circuits: {student}")
    everything = [group.name for group in groups].index(EVERYTHING)
    error = max(
        refuse_incomplete(effects[:, everything], sign * gain.by_problem, student)
        for effects, sign in ((group_effects.on, 1), (group_effects.off, -1))
    )
    screened, first_order = _screened(division, sequences, student)
    return ScreenedStudent(
        student=student,
        arm=arm,
        against=against,
        gain=gain,
        error=error,
        same=division.same,
        rest_kinds=division.rest_kinds,
        groups=groups,
        group_effects=group_effects,
        screened=screened,
        screened_effects=first_order,
    )


def switched_student(
    screened: ScreenedStudent, division: Division, sequences: Sequence[ProblemSequence], selection: CircuitSelection
) -> MeasuredStudent:
    """Switches the selected circuits one by one.

    Args:
        screened: What was measured of the student so far.
        division: The base, the student, and what training changed.
        sequences: What they read.
        selection: The circuits.
    """
    unchanged = [circuit for circuit in division.circuits if _is_unchanged(division, circuit)]
    exact = list(dict.fromkeys([*selection.chosen, *unchanged]))
    label = f"Circuits one by one: {screened.student}"
    effects = _switched(division, [Update([circuit]) for circuit in exact], sequences, label)
    parts = {field.name: getattr(screened, field.name) for field in fields(screened)}
    return MeasuredStudent(**parts, selection=selection, exact=exact, exact_effects=effects)


def _is_unchanged(division: Division, circuit: Circuit) -> bool:
    return circuit.kind in ATTENTION and not division.circuits[circuit]


def _switched(
    division: Division, updates: Sequence[Update], sequences: Sequence[ProblemSequence], label: str
) -> Switched:
    with progress(label, len(updates) * len(sequences)) as bar:
        return switched_effects(division, updates, sequences, bar=bar)


def _screened(division: Division, sequences: Sequence[ProblemSequence], student: str) -> tuple[list[Circuit], Switched]:
    with progress(f"Circuits by gradient: {student}", 2 * len(sequences)) as bar:
        circuits, on = screened_updates(division, division.base, sequences, bar=bar)
        _, kept = screened_updates(division, division.student, sequences, bar=bar)
    return circuits, Switched(on, np.negative(kept))
