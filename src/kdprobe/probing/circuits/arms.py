"""What sentences and figures of `circuits` are about: arms with several seeds, and each student of any other arm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from kdprobe.probing.circuits.effects import Switched
from kdprobe.probing.circuits.groups import Group
from kdprobe.probing.circuits.labels import Circuit
from kdprobe.probing.circuits.measured import MeasuredStudent
from kdprobe.probing.circuits.selection import CircuitSelection
from kdprobe.probing.interventions.gain import Gain
from kdprobe.probing.interventions.sweep import Array
from kdprobe.stats.bootstrap import Means, means_over_problems
from kdprobe.stats.crossed_means import estimated_means
from kdprobe.stats.permutations.max_t import max_t
from kdprobe.students.replicates import with_enough_seeds

Direction = Literal["on", "off"]
SWITCHED: tuple[Direction, ...] = ("on", "off")


@dataclass(frozen=True)
class Arm:
    """One student, or all students of an arm with at least three seeds, whose circuits were selected together.

    Attributes:
        name: The student's name, or the arm's.
        members: The students.
    """

    name: str
    members: Sequence[MeasuredStudent]

    @property
    def combined(self) -> bool:
        """Whether these are several seeds."""
        return len(self.members) > 1

    @property
    def title(self) -> str:
        """As sentences name it."""
        return f"{self.name} ({len(self.members)} seeds)" if self.combined else self.name

    @property
    def against(self) -> str:
        """The name of the base."""
        return self.members[0].against

    @cached_property
    def gain(self) -> Gain:
        """What training gained."""
        return Gain.over_seeds([member.gain for member in self.members])

    @property
    def error(self) -> float:
        """How far the base with everything on is from the student, in nats."""
        return max(member.error for member in self.members)

    @property
    def same(self) -> bool:
        """Whether training changed nothing."""
        return all(member.same for member in self.members)

    @property
    def rest_kinds(self) -> list[str]:
        """What training changed outside the circuits."""
        return list(dict.fromkeys(kind for member in self.members for kind in member.rest_kinds))

    @cached_property
    def groups(self) -> list[Group]:
        """The groups; of several seeds, as in one in which training changed most of them."""
        by_student = (member.groups for member in self.members)
        return [max(found, key=lambda group: not group.is_empty) for found in zip(*by_student, strict=True)]

    @property
    def selection(self) -> CircuitSelection:
        """The circuits that were switched one by one."""
        return self.members[0].selection

    @property
    def is_selected(self) -> bool:
        """Whether circuits were selected on the problems that their effects are measured on, so no test is valid."""
        return len(self.selection.chosen) < len(self.screened)

    @cached_property
    def screened(self) -> list[Circuit]:
        """The circuits of attention that training changed in any of the students."""
        return list(dict.fromkeys(circuit for member in self.members for circuit in member.screened))

    @cached_property
    def exact(self) -> list[Circuit]:
        """The selected circuits, then all circuits of attention that training changed in none of the students."""
        in_all = set.intersection(*(set(member.exact) for member in self.members))
        return [circuit for circuit in self.members[0].exact if circuit in in_all]

    def group_effects(self, switched: Direction) -> Array:
        """`[seed, problem, group, target]`, in nats."""
        return np.stack([_of(member.group_effects, switched) for member in self.members])

    def screened_effects(self, switched: Direction) -> Array:
        """Of the screened circuits, to first order, `[seed, problem, circuit, target]`."""
        return np.stack(
            [aligned(self.screened, each.screened, _of(each.screened_effects, switched)) for each in self.members]
        )

    def exact_effects(self, switched: Direction) -> Array:
        """Of the exact circuits, `[seed, problem, circuit, target]`."""
        return np.stack([aligned(self.exact, each.exact, _of(each.exact_effects, switched)) for each in self.members])


def students_of(students: Sequence[MeasuredStudent]) -> list[Arm]:
    """Every student on its own."""
    return [Arm(student.student, [student]) for student in students]


def arms_of(students: Sequence[MeasuredStudent]) -> list[Arm]:
    """The arms with enough seeds for an interval over seeds."""
    return [Arm(name, members) for name, members in with_enough_seeds(students).items()]


def shown(students: Sequence[MeasuredStudent]) -> list[Arm]:
    """What sentences and figures show: arms with at least three seeds, and each student of any other arm."""
    arms = arms_of(students)
    combined = {member.student for arm in arms for member in arm.members}
    return [*arms, *(each for each in students_of(students) if each.name not in combined)]


def aligned(circuits: Sequence[Circuit], own: Sequence[Circuit], effects: Array) -> Array:
    """Effects of circuits on one student, `[problem, circuit, target]`.

    Args:
        circuits: The circuits. One that training did not change in the student has an effect of exactly zero.
        own: The student's.
        effects: Their effects, `[problem, circuit, target]`.
    """
    column = {circuit: index for index, circuit in enumerate(own)}
    zero = np.zeros((len(effects), 1, effects.shape[-1]))
    padded = np.concatenate([effects, zero], axis=1)
    found: Array = padded[:, [column.get(circuit, len(own)) for circuit in circuits]]
    return found


def means_of(effects: Array, seed: int) -> Means:
    """Means with intervals over problems, and over seeds where there are several.

    Args:
        effects: `[seed, problem, ...]`.
        seed: Of the bootstrap.

    Returns:
        Means in the shape of one problem.
    """
    return means_over_problems(effects[0], seed) if len(effects) == 1 else estimated_means(effects).means


def adjusted_p(effects: Array, seed: int) -> Array:
    """P of the sign-flip test over problems, adjusted for all updates, `[update, target]`; NaN for one problem.

    Args:
        effects: `[seed, problem, update, target]`; the test is for these seeds.
        seed: Of the permutations.
    """
    means = effects.mean(axis=0)
    if len(means) == 1 or not means.shape[1]:
        return np.full(means.shape[1:], np.nan)
    return np.stack([max_t(means[..., target], seed=seed) for target in range(means.shape[-1])], axis=-1)


def towards(switched: Direction, effects: NDArray[np.float64]) -> Array:
    """Effects in the direction of the gain: what the student loses without an update counts as the update's."""
    return effects if switched == "on" else -effects


def _of(effects: Switched, switched: Direction) -> Array:
    return effects.on if switched == "on" else effects.off
