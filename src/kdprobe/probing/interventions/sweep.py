"""Replaces the heads of a student: all by gradient, the top ones exactly, and these together.

Heads are selected and measured on different problems (`kdprobe.probing.selection`): the set that is replaced on a fold
of the problems comes first on the folds before it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from kdprobe.console import progress
from kdprobe.errors import KdprobeError
from kdprobe.models.load import LoadedModel
from kdprobe.models.reference import ModelRecord
from kdprobe.probing.attention.moved import ranked
from kdprobe.probing.interventions.attribution_patching import screened_effects
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
        random: By the name of the set that they are compared with, the effects of random sets of the same size,
            `[problem, set, target]`; NaN where the set was not measured. There are none for `every`, nor for `top`
            with a single problem, which selects the heads that it measures.
        selection: How problems select the top heads.
    """

    screened: Array
    heads: list[Head]
    exact: Array
    sets: dict[str, list[Head]]
    together: dict[str, Array]
    random: dict[str, Array]
    selection: Selection

    def compared(self, kind: str) -> tuple[Array, Array]:
        """A set's effects, `[problem, target]`, and its random sets', `[problem, set, target]`, where it's measured."""
        chosen = self.together[kind]
        measured = self.selection.folds > 0 if kind == "top" and self.selection.before else np.full(len(chosen), True)
        random = self.random.get(kind, np.empty((len(chosen), 0, chosen.shape[-1])))
        return chosen[measured], random[measured]


def sweep_heads(
    reading: Reader,
    sequences: Sequence[ProblemSequence],
    donor: Donor,
    options: InterventionOptions,
    *,
    batch_size: int,
    seed: int,
    sign: Sign,
    screening: str,
    label: str,
    moved: Sequence[Head] = (),
) -> Sweep:
    """Screens all heads, then computes the effects of the top ones exactly.

    Args:
        reading: The student.
        sequences: What it reads.
        donor: The replacement for a head's output.
        options: How many heads to replace exactly, and what to compare them with.
        batch_size: Heads, or sets of heads, per batch.
        seed: Of the random sets.
        sign: Which heads come first.
        screening: What the screening is called in progress output.
        label: What the exact replacements are called there.
        moved: Heads by how much their attention changed, if known; as many as there are top heads are also replaced
            exactly and together.

    Raises:
        KdprobeError: The student does not work in the way that exact runs assume.
    """
    with progress(screening, len(sequences)) as bar:
        screened = screened_effects(reading, sequences, donor, bar=bar).numpy()
    shape = screened.shape[1:3]
    order = ranked(sign * screened[..., 0].mean(axis=0))
    heads = order if options.exact == "all" else order[: options.exact]
    top = heads[: options.together]
    selection = select_heads(sign * screened[..., 0], len(top), len(heads), options.folds, seed)
    sets = {"every": order}
    if moved:
        sets["moved"] = list(moved[: len(top)])
        heads = list(dict.fromkeys([*heads, *sets["moved"]]))
    with progress(f"{label}, {len(heads)} heads one by one", len(sequences)) as bar:
        exact = exact_effects(reading, sequences, donor, heads, batch_size=batch_size, bar=bar)
    with progress(f"{label}, sets of {len(top)} heads", len(sequences)) as bar:

        def replaced(problems: Sequence[int], all_sets: Sequence[Sequence[Head]]) -> Array:
            own = Donor([donor.z[index] for index in problems], donor.matrices)
            read = [sequences[index] for index in problems]
            joint: Array = joint_effects(reading, read, own, all_sets, batch_size=batch_size, bar=bar).numpy()
            return joint

        together, random = _together(replaced, {"top": top, **sets}, selection, shape, options, seed)
    return Sweep(screened, heads, exact.numpy(), {"top": top, **sets}, together, random, selection)


def _together(  # noqa: PLR0917
    replaced: Callable[[Sequence[int], Sequence[Sequence[Head]]], Array],
    sets: Mapping[str, Sequence[Head]],
    selection: Selection,
    shape: tuple[int, int],
    options: InterventionOptions,
    seed: int,
) -> tuple[dict[str, Array], dict[str, Array]]:
    """The effects of sets and of the random sets that they are compared with, fold by fold, as in `Sweep`.

    Args:
        replaced: The effects of sets on problems, `[problem, set, target]`.
        sets: The sets, `top` as selected on all problems.
        selection: The top heads of each fold.
        shape: Layers and heads per layer.
        options: How many random sets are drawn, and from which layers.
        seed: Of the draw.
    """
    count, problems = options.random_sets, len(selection.folds)
    compared = [kind for kind in sets if kind == "moved" or (kind == "top" and selection.before)]
    together = {kind: np.full((problems, len(TARGETS)), np.nan) for kind in sets}
    random = {kind: np.full((problems, count, len(TARGETS)), np.nan) for kind in compared}
    for fold in range(int(selection.folds.max()) + 1):
        members = np.flatnonzero(selection.folds == fold)
        here = dict(sets)
        if selection.before:
            here["top"] = selection.before[fold - 1] if fold else []
        measured = [kind for kind in sets if here[kind]]
        # Random sets from the same layers are a set's own; others serve all sets.
        drawn = {
            kind: random_sets(here[kind], shape, count, same_layers=options.same_layers, seed=seed)
            for kind in compared
            if kind in measured
        }
        shared = not options.same_layers
        listed = list(drawn.values())[: 1 if shared else None]
        joint = replaced(members.tolist(), [*(here[kind] for kind in measured), *chain.from_iterable(listed)])
        for index, kind in enumerate(measured):
            together[kind][members] = joint[:, index]
        for index, kind in enumerate(drawn):
            start = len(measured) + (0 if shared else index * count)
            random[kind][members] = joint[:, start : start + count]
    return together, random


def chosen_students(students: Sequence[Student], names: Sequence[str], analysis: str) -> list[Student]:
    """The students named by an option, as in `kdprobe.students.replicates.chosen`.

    Raises:
        UsageError: There is no such student.
    """
    chosen_names = chosen(students, names, analysis)
    return [student for student in students if student.name in chosen_names]


def load_in_full(pool: StudentPool, student: Student) -> LoadedModel:
    """A student in float32, merged, so that effects can be distinguished from rounding errors.

    Raises:
        KdprobeError: It is quantised, or cannot be loaded.
    """
    refuse_packed(student.name, student.base)
    return pool.loaded(student)


def refuse_packed(name: str, record: ModelRecord) -> None:
    """Refuses weights that stay quantised in memory.

    Args:
        name: The student or model.
        record: Its weights.

    Raises:
        KdprobeError: They are quantised.
    """
    if record.is_packed:
        raise KdprobeError(
            f"The weights of {name!r} are quantised ({record.quantisation}), so the effects of heads and circuits "
            "cannot be computed exactly.",
            "Use weights that are not quantised, or analyses that only read students, such as heads, divergence, "
            "geometry, output_divergence and logit_lens.",
        )
