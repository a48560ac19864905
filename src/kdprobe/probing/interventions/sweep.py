"""Replaces the heads of a student: all by gradient, the top ones exactly, and these together."""

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
    """The effects of replacing heads of one student on log-probabilities, in nats.

    Attributes:
        screened: To first order, `[problem, layer, head, target]`.
        heads: The heads replaced exactly, in the order of the screening.
        exact: Their effects, `[problem, head, target]`.
        sets: Heads that were also replaced together: `top`, the first of the screening; `every`, all heads of the
            student; and, if known, `moved`, those whose attention changed most.
        together: Effects of the sets by name, `[problem, target]`.
        random: Effects of random sets of the same size as the top heads, `[problem, set, target]`.
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
    """Screens all heads, then computes the effects of the top ones exactly.

    Args:
        reading: The student.
        sequences: What it reads.
        donor: The replacement for a head's output.
        screened: `[problem, layer, head, target]`, from `screened_effects`.
        options: How many heads to replace exactly, and what to compare them with.
        batch_size: Heads, or sets of heads, per batch.
        seed: Of the random sets.
        sign: Which heads come first.
        label: Its name in progress output.
        moved: Heads by how much their attention changed, if known; as many as there are top heads are also replaced
            exactly and together.

    Raises:
        KdprobeError: The student does not work in the way that exact runs assume.
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
    """The students named by an option, as in `kdprobe.students.replicates.chosen`.

    Raises:
        UsageError: There is no such student.
    """
    chosen_names = chosen(students, names, analysis)
    return [student for student in students if student.name in chosen_names]


def load_in_full(pool: StudentPool, student: Student) -> LoadedModel:
    """A merged student in float32, so that effects can be distinguished from rounding errors.

    Raises:
        KdprobeError: It is quantised, or cannot be loaded.
    """
    loaded = pool.merged(student)
    if loaded.model.dtype != torch.float32:
        raise KdprobeError(
            f"The student {student.name!r} is quantised.",
            "Effects of single heads can only be measured with float32 weights.",
        )
    return loaded
