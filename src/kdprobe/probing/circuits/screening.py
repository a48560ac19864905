"""All circuits of attention at once, to first order: one backward pass estimates what each one's update does.

With g the gradient of the log-probability with respect to the output of a projection with input x, and D the update of
its weight,

    effect of the rows R of D  ~  sum over positions and over r in R of  g_r (D x)_r

and likewise for the columns of an output projection. It ranks circuits for exact runs; like all first-order estimates,
it misses saturation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from kdprobe.console import Progress
from kdprobe.models.merging.lora import own_weight
from kdprobe.probing.circuits.division import Division, WeightName
from kdprobe.probing.circuits.labels import ATTENTION, Circuit
from kdprobe.probing.interventions.attribution_patching import gradients_from_the_first_layer
from kdprobe.probing.interventions.forward import TARGETS, InMemory, reader
from kdprobe.probing.interventions.sweep import Array
from kdprobe.students.sequence import ProblemSequence


def screened_updates(
    division: Division, at: InMemory, sequences: Sequence[ProblemSequence], *, bar: Progress
) -> tuple[list[Circuit], Array]:
    """First-order effects of switching each changed circuit of attention on, with the gradient of one of the models.

    Args:
        division: The base, the student, and what training changed.
        at: The model whose gradient is used: the base or the student.
        sequences: What it reads.
        bar: Advanced by one per sequence.

    Returns:
        The circuits, and their effects in nats, `[problem, circuit, target]`.
    """
    circuits = [circuit for circuit in division.changed if circuit.kind in ATTENTION]
    effects = np.zeros((len(sequences), len(circuits), len(TARGETS)))
    names = list(dict.fromkeys(piece.weight_name for circuit in circuits for piece in division.circuits[circuit]))
    if not names:
        bar.advance(len(sequences))
        return circuits, effects
    with reader(at) as reading:
        for index, sequence in enumerate(sequences):
            with (
                torch.enable_grad(),
                gradients_from_the_first_layer(reading),
                _recorded(at.model, names) as records,
            ):
                log_p = reading.score(sequence)[0]
                outputs = [output for _, output in records.values()]
                for target in range(len(TARGETS)):
                    slopes = torch.autograd.grad(log_p[target], outputs, retain_graph=target + 1 < len(TARGETS))
                    by_weight = dict(zip(records, slopes, strict=True))
                    effects[index, :, target] = _effects(division, circuits, records, by_weight)
            bar.advance(1)
    return circuits, effects


Records = dict[WeightName, tuple[Tensor, Tensor]]
"""What a projection read, and what it wrote."""


@contextmanager
def _recorded(model: nn.Module, names: Sequence[WeightName]) -> Iterator[Records]:
    """Records inputs and outputs of projections while the block runs."""
    records: Records = {}
    with ExitStack() as stack:
        for name in names:

            def record(_module: Any, inputs: Any, output: Tensor, name: WeightName = name) -> None:
                records[name] = (inputs[0].detach(), output)

            stack.callback(model.get_submodule(name[0]).register_forward_hook(record).remove)
        yield records


@torch.no_grad()
def _effects(
    division: Division, circuits: Sequence[Circuit], records: Records, slopes: dict[WeightName, Tensor]
) -> list[float]:
    """The effect of each circuit under one gradient."""
    by_row: dict[tuple[WeightName, bool], Tensor] = {}
    found = []
    for circuit in circuits:
        ((name, _, index),) = [(piece.weight_name, piece.dim, piece.index) for piece in division.circuits[circuit]]
        is_output = circuit.kind == "o"
        if (name, is_output) not in by_row:
            by_row[name, is_output] = _by_row(division, name, records[name][0], slopes[name], is_output=is_output)
        values = by_row[name, is_output]
        found.append(float((values if index is None else values[index]).double().sum()))
    return found


def _by_row(division: Division, name: WeightName, read: Tensor, slope: Tensor, *, is_output: bool) -> Tensor:
    """The effect of every row of an update `[out, in]`, or of every column of that of an output projection."""
    before, after = (own_weight(each.model.get_submodule(name[0])) for each in (division.base, division.student))
    update = after - before
    x, g = read.flatten(0, -2), slope.flatten(0, -2)
    return ((g @ update) * x).sum(dim=0) if is_output else (g * (x @ update.T)).sum(dim=0)
