"""What `circuits` measures of one student."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kdprobe.console import progress
from kdprobe.probing.circuits.division import Division
from kdprobe.probing.circuits.effects import Switched, Update, gold_log_p, refuse_incomplete, switched_effects
from kdprobe.probing.circuits.groups import EVERYTHING, Group, groups_of
from kdprobe.probing.circuits.labels import ATTENTION, Circuit
from kdprobe.probing.circuits.screening import screened_updates
from kdprobe.probing.interventions.gain import Gain
from kdprobe.probing.interventions.options import CircuitsOptions
from kdprobe.students.sequence import ProblemSequence


@dataclass(frozen=True)
class MeasuredStudent:
    """The effects of parts of a student's update.

    Attributes:
        student: The student's name.
        against: The name of its base.
        gain: What training gained.
        error: How far the base with everything on is from the student, in nats.
        same: Whether training changed nothing.
        rest_kinds: What it changed outside the circuits.
        groups: The groups, and their effects, exactly.
        group_effects: `[problem, group, target]`.
        screened: The circuits of attention that training changed.
        screened_effects: Their effects to first order, `[problem, circuit, target]`.
        chosen: Those of them that were switched one by one, the first of the screening first.
        exact: The same, then all circuits of attention that training did not change.
        exact_effects: Their effects, exactly, `[problem, circuit, target]`.
    """

    student: str
    against: str
    gain: Gain
    error: float
    same: bool
    rest_kinds: list[str]
    groups: list[Group]
    group_effects: Switched
    screened: list[Circuit]
    screened_effects: Switched
    chosen: list[Circuit]
    exact: list[Circuit]
    exact_effects: Switched

    @property
    def is_selected(self) -> bool:
        """Whether circuits were selected on the problems that their effects are measured on, so no test is valid."""
        return len(self.chosen) < len(self.screened)


def measured(
    division: Division,
    sequences: Sequence[ProblemSequence],
    options: CircuitsOptions,
    student: str,
    against: str,
) -> MeasuredStudent:
    """Switches the groups, screens the circuits of attention, and switches the first of them one by one.

    Args:
        division: The base, the student, and what training changed.
        sequences: What they read.
        options: How much to switch.
        student: The student's name.
        against: The name of its base.

    Raises:
        KdprobeError: The base with everything on is not the student.
    """
    after, before = (gold_log_p(each, len(each.tokenizer), sequences) for each in (division.student, division.base))
    gain = Gain(after, before)
    groups = groups_of(division, by_layer=options.layers)
    group_effects = _switched(division, [group.update for group in groups], sequences, f"Groups of circuits: {student}")
    everything = [group.name for group in groups].index(EVERYTHING)
    error = max(
        refuse_incomplete(effects[:, everything], sign * gain.by_problem, student)
        for effects, sign in ((group_effects.on, 1), (group_effects.off, -1))
    )
    screened, first_order = _screened(division, sequences, student)
    # Whether switched on or off, a circuit that carries the gain is worth as much of it.
    towards = gain.sign * (first_order.on - first_order.off)[..., 0].mean(axis=0)
    chosen = [screened[index] for index in np.argsort(-towards, kind="stable")]
    chosen = chosen if options.exact == "all" else chosen[: options.exact]
    exact = [*chosen, *(circuit for circuit in division.circuits if _is_unchanged(division, circuit))]
    effects = _switched(
        division, [Update([circuit]) for circuit in exact], sequences, f"Circuits one by one: {student}"
    )
    return MeasuredStudent(
        student=student,
        against=against,
        gain=gain,
        error=error,
        same=division.same,
        rest_kinds=division.rest_kinds,
        groups=groups,
        group_effects=group_effects,
        screened=screened,
        screened_effects=first_order,
        chosen=chosen,
        exact=exact,
        exact_effects=effects,
    )


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
