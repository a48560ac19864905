"""Replacing the heads of a student: all by gradient, the first of them for real, and those together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from kdprobe.console import progress
from kdprobe.probing.causes.exact import Head, exact_effects
from kdprobe.probing.causes.joint import joint_effects, random_sets
from kdprobe.probing.causes.options import AblationOptions, PatchingOptions
from kdprobe.probing.causes.reading import Reader
from kdprobe.probing.causes.replacement import Donor
from kdprobe.probing.causes.screen import screened_effects
from kdprobe.probing.sequences import ProblemSequence

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Sweep:
    """What replacing heads of one student by one donor's does; effects on log-probabilities, in nats.

    Attributes:
        screened: First order, `[problem, layer, head, target]`.
        heads: Which heads were replaced for real, those that the screen put first in front.
        exact: Their effects, `[problem, head, target]`.
        top: Their effect together, `[problem, target]`.
        random: Effects of random sets of as many heads, `[problem, set, target]`.
    """

    screened: Array
    heads: list[Head]
    exact: Array
    top: Array
    random: Array


def sweep(
    reading: Reader,
    sequences: Sequence[ProblemSequence],
    donor: Donor,
    options: AblationOptions | PatchingOptions,
    *,
    sign: Literal[-1, 1],
    batch_size: int,
    seed: int,
    label: str,
) -> Sweep:
    """Runs all of it on one student.

    Args:
        reading: The student.
        sequences: What it reads.
        donor: What takes the place of a head's output.
        options: How many heads for real, and what to compare them with.
        sign: Which heads come first: those that lower the log-probability most, or those that raise it.
        batch_size: Heads or sets at once.
        seed: Of the random sets.
        label: How progress calls it.
    """
    with progress(f"{label}, all heads by gradient", len(sequences)) as bar:
        screened = screened_effects(reading, sequences, [donor], bar=bar)[0].numpy()
    layers, per_layer = screened.shape[1:3]
    order = np.argsort(-sign * screened[..., 0].mean(axis=0).ravel(), kind="stable")
    count = order.size if options.exact == "all" else min(options.exact, order.size)
    heads = [divmod(int(place), per_layer) for place in order[:count]]
    with progress(f"{label}, {count} heads exactly", len(sequences)) as bar:
        exact = exact_effects(reading, sequences, donor, heads, batch_size=batch_size, bar=bar).numpy()
    # All heads together are no choice that random ones could be compared with.
    together = heads[: AblationOptions.model_fields["exact"].default] if options.exact == "all" else heads
    drawn = random_sets(
        together, (layers, per_layer), options.random_sets, same_layers=options.same_layers, seed=seed
    )
    with progress(f"{label}, heads together and random sets", len(sequences)) as bar:
        joint = joint_effects(reading, sequences, donor, [together, *drawn], batch_size=batch_size, bar=bar).numpy()
    return Sweep(screened, heads, exact, joint[:, 0], joint[:, 1:])
