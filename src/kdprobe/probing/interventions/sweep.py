"""Replaces the heads of a student: all by gradient, the top ones exactly, and these together.

Heads are selected and measured on different problems (`kdprobe.probing.selection`): the set that is replaced on a fold
of the problems comes first on the folds before it.
"""

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
from kdprobe.probing.interventions.forward import TARGETS, Reader
from kdprobe.probing.interventions.joint_effects import joint_effects, random_sets
from kdprobe.probing.interventions.options import InterventionOptions
from kdprobe.probing.interventions.replacement import Donor
from kdprobe.probing.labels import Head
from kdprobe.probing.selection import Selection, select_heads
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
        sets: Heads that were also replaced together: `top`, the first of the screening over all problems; `every`, all
            heads of the student; and, if known, `moved`, those whose attention changed most.
        together: Effects of the sets by name, `[problem, target]`. Those of `top` are of the heads selected on the
            folds before the problem's; NaN in the first fold. With a single problem, they are of `sets["top"]`.
        random: Effects of random sets of the same size as the top heads, `[problem, set, target]`.
        selection: How problems select the top heads.
    """

    screened: Array
    heads: list[Head]
    exact: Array
    sets: dict[str, list[Head]]
    together: dict[str, Array]
    random: Array
    selection: Selection

    def compared(self, kind: str) -> tuple[Array, Array]:
        """The effects of a set, `[problem, target]`, and of random sets on the same problems, `[problem, set, target]`.

        There are no random sets if the top heads were selected on the problem that they were measured on.
        """
        chosen = self.together[kind]
        known = np.isfinite(chosen).all(axis=-1)
        selected_here = kind == "top" and not self.selection.folds.any()
        return chosen[known], self.random[known][:, : 0 if selected_here else None]


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
    selection = select_heads(sign * screened[..., 0], len(top), len(heads), options.folds, seed)
    sets = {"every": order}
    if moved:
        sets["moved"] = list(moved[: len(top)])
        heads = list(dict.fromkeys([*heads, *sets["moved"]]))
    drawn = random_sets(top, shape, options.random_sets, same_layers=options.same_layers, seed=seed)
    with progress(f"{label}, {len(heads)} heads one by one", len(sequences)) as bar:
        exact = exact_effects(reading, sequences, donor, heads, batch_size=batch_size, bar=bar)
    held_out = np.full((len(sequences), len(TARGETS)), np.nan)
    with progress(f"{label}, sets of {len(top)} heads", 2 * len(sequences) - (selection.folds == 0).sum()) as bar:

        def replaced(problems: Sequence[int], all_sets: Sequence[Sequence[Head]]) -> Array:
            own = Donor([donor.z[index] for index in problems], donor.matrices)
            read = [sequences[index] for index in problems]
            joint: Array = joint_effects(reading, read, own, all_sets, batch_size=batch_size, bar=bar).numpy()
            return joint

        joint = replaced(range(len(sequences)), [*sets.values(), *drawn])
        for fold, members in enumerate(selection.before, start=1):
            problems = np.flatnonzero(selection.folds == fold)
            held_out[problems] = replaced(problems.tolist(), [members])[:, 0]
        if not selection.before:
            held_out = replaced(range(len(sequences)), [top])[:, 0]
    together = {"top": held_out, **{name: joint[:, index] for index, name in enumerate(sets)}}
    random = joint[:, len(sets) :]
    return Sweep(screened, heads, exact.numpy(), {"top": top, **sets}, together, random, selection)


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
