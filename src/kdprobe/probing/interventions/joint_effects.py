"""Replaces several heads at once, and draws random sets of heads for comparison.

A pass for a set starts at the set's lowest layer, because everything below is the same with and without it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kdprobe.console import Progress
from kdprobe.probing.interventions.exact_effects import started_at
from kdprobe.probing.interventions.forward import TARGETS, Reader, clean_run
from kdprobe.probing.interventions.replacement import Donor
from kdprobe.probing.labels import Head
from kdprobe.students.sequence import ProblemSequence


@torch.no_grad()
def joint_effects(
    reading: Reader,
    sequences: Sequence[ProblemSequence],
    donor: Donor,
    sets: Sequence[Sequence[Head]],
    *,
    batch_size: int,
    bar: Progress,
) -> Tensor:
    """Replaces all heads of a set together.

    Args:
        reading: The student.
        sequences: What it reads.
        donor: The replacement for their outputs, at every position.
        sets: Of heads.
        batch_size: Sets per batch.
        bar: Advanced by one per sequence.

    Returns:
        Log-probability with the replacement minus without, `[sequence, set, target]`, float64, in nats.
    """
    layers, heads = len(reading.anatomy), reading.anatomy.heads
    chosen = torch.zeros(len(sets), layers, heads, dtype=torch.bool)
    for set_index, members in enumerate(sets):
        for layer, head in members:
            chosen[set_index, layer, head] = True
    lowest = torch.tensor([min((layer for layer, _ in members), default=layers - 1) for members in sets])
    # Sets that start at about the same layer share a batch.
    batches = torch.split(torch.argsort(lowest, stable=True), batch_size)
    effects = torch.zeros(len(sequences), len(sets), len(TARGETS), dtype=torch.float64)
    for index, sequence in enumerate(sequences):
        run = clean_run(reading, sequence)
        for batch in batches:
            start, copies = int(lowest[batch].min()), len(batch)
            with (
                started_at(reading, run, start, copies),
                _replaced(reading, donor, index, chosen[batch]),
            ):
                effects[index, batch] = (reading.score(sequence, copies=copies) - run.log_p).cpu()
        bar.advance(1)
    return effects


@contextmanager
def _replaced(reading: Reader, donor: Donor, index: int, chosen: Tensor) -> Iterator[None]:
    """While the block runs, the chosen heads of each copy write the donor's output.

    Args:
        reading: The student.
        donor: The donor of the outputs.
        index: The index of the sequence being read.
        chosen: The heads to replace, `[copy, layer, head]`, boolean.
    """
    donor_z = donor.z[index]

    def enter(layer: int, positional: Any) -> tuple[Tensor]:
        z = positional[0].unflatten(-1, (*chosen.shape[-1:], -1))
        replaced = chosen[:, layer, None, :, None].to(z.device)
        return (torch.where(replaced, donor_z[layer].to(z.device), z).flatten(2),)

    def leave(layer: int, output: Tensor) -> Tensor:
        # The projection was the student's own; the donor's may differ.
        own = reading.output_matrices[layer]
        difference = (donor.matrices[layer].to(own.device) - own).flatten(0, 1)
        z = (donor_z[layer] * chosen[:, layer, None, :, None]).flatten(2).to(output.device)
        replaced: Tensor = output + z @ difference
        return replaced

    with ExitStack() as stack:
        for layer, projection in enumerate(reading.anatomy.outputs):
            if chosen[:, layer].any():
                for hook in (
                    projection.register_forward_pre_hook(lambda _, inputs, layer=layer: enter(layer, inputs)),
                    projection.register_forward_hook(lambda _, _inputs, output, layer=layer: leave(layer, output)),
                ):
                    stack.callback(hook.remove)
        yield


def random_sets(
    top: Sequence[Head], shape: tuple[int, int], count: int, *, same_layers: bool, seed: int
) -> list[list[Head]]:
    """Sets of the same size as the top heads, drawn at random from all heads.

    Args:
        top: The heads to compare with.
        shape: Layers and heads per layer.
        count: The number of sets.
        same_layers: Draw as many heads from each layer as the top heads have there.
        seed: Of the draw.
    """
    random = np.random.default_rng(seed)
    layers, heads = shape
    if not same_layers:
        drawn = (random.choice(layers * heads, size=len(top), replace=False) for _ in range(count))
        return [[divmod(int(index), heads) for index in indices] for indices in drawn]
    sizes = np.bincount([layer for layer, _ in top], minlength=layers)
    return [
        [
            (layer, int(head))
            for layer, size in enumerate(sizes)
            for head in random.choice(heads, size=size, replace=False)
        ]
        for _ in range(count)
    ]
