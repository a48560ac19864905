"""Replacing the heads of a student: all by gradient, the first of them for real, and those together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from kdprobe.console import progress
from kdprobe.errors import KdprobeError
from kdprobe.models.load import LoadedModel
from kdprobe.probing.attention.moved import ranked
from kdprobe.probing.interventions.exact_effects import exact_effects
from kdprobe.probing.interventions.forward import Reader
from kdprobe.probing.interventions.joint_effects import joint_effects, random_sets
from kdprobe.probing.interventions.options import InterventionOptions
from kdprobe.probing.interventions.replacement import Donor
from kdprobe.probing.labels import Head
from kdprobe.students.pool import StudentPool
from kdprobe.students.replicates import chosen
from kdprobe.students.sequence import ProblemSequence
from kdprobe.students.student import Student

Array = NDArray[np.float64]
Sign = Literal[-1, 1]
"""Which effects are large: those that lower a log-probability, or those that raise it."""


@dataclass(frozen=True)
class Sweep:
    """What replacing heads of one student does to log-probabilities, in nats.

    Attributes:
        screened: To first order, `[problem, layer, head, target]`.
        heads: Which heads were replaced for real, those that the screen put first in front.
        exact: Their effects, `[problem, head, target]`.
        sets: Heads that were also replaced together: `top`, the first by the screen; `every`, all of the student; and
            where it is known `moved`, those whose attention changed most.
        together: Name of a set to its effect, `[problem, target]`.
        random: Effects of random sets of as many heads as the top ones, `[problem, set, target]`.
    """

    screened: Array
    heads: list[Head]
    exact: Array
    sets: dict[str, list[Head]]
    together: dict[str, Array]
    random: Array


def sweep_heads(
    reading: Reader,
    sequences: Sequence[ProblemSequence],
    donor: Donor,
    screened: Array,
    options: InterventionOptions,
    *,
    batch_size: int,
    seed: int,
    sign: Sign,
    label: str,
    moved: Sequence[Head] = (),
) -> Sweep:
    """Goes from the screen of all heads to exact runs.

    Args:
        reading: The student.
        sequences: What it reads.
        donor: What takes the place of a head's output.
        screened: `[problem, layer, head, target]`, from `screened_effects`.
        options: How many heads for real, and what to compare them with.
        batch_size: Heads, or sets of heads, at once.
        seed: Of the random sets.
        sign: Which heads come first.
        label: How progress calls it.
        moved: Heads by how much their attention changed, where that is known; as many as the top ones are replaced for
            real and together, too.

    Raises:
        KdprobeError: The student does not work the way that exact runs take for granted.
    """
    shape = screened.shape[1:3]
    order = ranked(sign * screened[..., 0].mean(axis=0))
    heads = order if options.exact == "all" else order[: options.exact]
    top = heads[: options.together]
    sets = {"top": top, "every": order}
    if moved:
        sets["moved"] = list(moved[: len(top)])
        heads = list(dict.fromkeys([*heads, *sets["moved"]]))
    drawn = random_sets(top, shape, options.random_sets, same_layers=options.same_layers, seed=seed)
    with progress(f"{label}, {len(heads)} heads one by one", len(sequences)) as bar:
        exact = exact_effects(reading, sequences, donor, heads, batch_size=batch_size, bar=bar)
    with progress(f"{label}, sets of {len(top)} heads", len(sequences)) as bar:
        all_sets = [*sets.values(), *drawn]
        joint = joint_effects(reading, sequences, donor, all_sets, batch_size=batch_size, bar=bar).numpy()
    together = {name: joint[:, index] for index, name in enumerate(sets)}
    return Sweep(screened, heads, exact.numpy(), sets, together, joint[:, len(sets) :])


def chosen_students(students: Sequence[Student], names: Sequence[str], analysis: str) -> list[Student]:
    """The students that an option names, as `kdprobe.students.replicates.chosen` has it.

    Raises:
        UsageError: There is no such student.
    """
    chosen_names = chosen(students, names, analysis)
    return [student for student in students if student.name in chosen_names]


def load_in_full(pool: StudentPool, student: Student) -> LoadedModel:
    """A merged student in float32, in which effects can be distinguished from rounding.

    Raises:
        KdprobeError: It is quantised, or cannot be loaded.
    """
    loaded = pool.merged(student)
    if loaded.model.dtype != torch.float32:
        raise KdprobeError(
            f"The student {student.name!r} is quantised.", "Effects of single heads need weights in float32."
        )
    return loaded
