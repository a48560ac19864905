"""The exact effect of replacing a head's output, without recomputing what precedes it.

Everything below a head, and the attention of its layer, is the same with and without it. So a pass for a head of layer
L

- skips the layers below L: L reads the residual stream from the clean pass;
- skips the attention of L except for its output projection, which reads the heads' outputs with one replaced;
- and continues from there, several heads of the layer at once, with logits only at the answer's rows.

The model's own forward pass runs, so masks, positions, norms and layer types are its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from kdprobe.console import Progress
from kdprobe.errors import KdprobeError
from kdprobe.probing.interventions.forward import TARGETS, CleanRun, Reader, Scores, clean_run
from kdprobe.probing.interventions.replacement import Donor, written
from kdprobe.probing.labels import Head
from kdprobe.students.sequence import ProblemSequence

TOLERANCE = 1e-2
"""Largest change in a log-probability allowed when restarting, in nats; float32 rounding causes about 1e-4."""


@torch.no_grad()
def exact_effects(
    reading: Reader,
    sequences: Sequence[ProblemSequence],
    donor: Donor,
    heads: Sequence[Head],
    *,
    batch_size: int,
    bar: Progress,
) -> Tensor:
    """Replaces heads one at a time: the change in log-probability, `[sequence, head, target]`, in nats.

    The targets are the gold solution and the gold value.

    Args:
        reading: The student.
        sequences: What it reads.
        donor: The replacement for a head's output, at every position.
        heads: The heads, in any order.
        batch_size: Heads per batch.
        bar: Advanced by one per sequence.

    Returns:
        Log-probability with the replacement minus without, `[sequence, head, target]`, float64, in nats; heads in
        the order given.

    Raises:
        KdprobeError: The student does not work in the way that restarting assumes.
    """
    by_layer: dict[int, list[int]] = {}
    for column, (layer, _) in enumerate(heads):
        by_layer.setdefault(layer, []).append(column)
    effects = torch.zeros(len(sequences), len(heads), len(TARGETS), dtype=torch.float64)
    for index, sequence in enumerate(sequences):
        run = clean_run(reading, sequence)
        if index == 0:
            _refuse_untrue(reading, sequence, run)
        for layer, layer_columns in by_layer.items():
            for start in range(0, len(layer_columns), batch_size):
                columns = layer_columns[start : start + batch_size]
                chosen = [heads[column][1] for column in columns]
                with restarted(reading, run, layer, _attended(reading, run, donor, index, layer, chosen)):
                    log_p = reading.score(sequence, copies=len(chosen))
                effects[index, columns] = (log_p - run.log_p).cpu()
        bar.advance(1)
    return effects


@contextmanager
def restarted(reading: Scores, run: CleanRun, layer: int, attended: Tensor) -> Iterator[None]:
    """While the block runs, the model starts in the middle of a layer.

    Args:
        reading: The student.
        run: Its clean pass over the same sequence.
        layer: Where to start.
        attended: What that layer's attention writes, `[copies, position, d_model]`.
    """
    with started_at(reading, run, layer, len(attended)), answering(reading.anatomy.attentions[layer], attended, run):
        yield


@contextmanager
def started_at(reading: Scores, run: CleanRun, layer: int, copies: int) -> Iterator[None]:
    """While the block runs, the model starts at a layer: those below it return what that layer reads.

    Args:
        reading: The student.
        run: Its clean pass over the same sequence.
        layer: Where to start.
        copies: How many copies of the sequence it reads.
    """
    with started_with(reading, run, layer, run.inputs[layer].expand(copies, -1, -1)):
        yield


@contextmanager
def started_with(reading: Scores, run: CleanRun, layer: int, stream: Tensor) -> Iterator[None]:
    """While the block runs, the model starts at a layer, which reads this residual stream.

    Args:
        reading: The student.
        run: A clean pass, for the form of what layers return.
        layer: Where to start.
        stream: What that layer reads, `[copies, position, d_model]`.
    """

    def enter(_module: Any, positional: Any, keyword: Any) -> Any:
        return ((stream, *positional[1:]), keyword) if positional else ((), {**keyword, "hidden_states": stream})

    with ExitStack() as stack:
        for below in reading.anatomy.layers[:layer]:
            stack.enter_context(answering(below, stream, run))
        first = reading.anatomy.layers[layer]
        stack.callback(first.register_forward_pre_hook(enter, with_kwargs=True).remove)
        yield


def _attended(  # noqa: PLR0917
    reading: Reader, run: CleanRun, donor: Donor, index: int, layer: int, chosen: list[int]
) -> Tensor:
    """A layer's attention output on a sequence with each of these heads replaced, `[head, position, d_model]`.

    The output projection runs again on the changed z. Adding and subtracting head outputs would be slightly cheaper,
    but rounds differently from a full pass, and later layers amplify that to 1e-4 nats.
    """
    z = run.z[layer].repeat(len(chosen), 1, 1, 1)
    donor_z = donor.z[index][layer][:, chosen].to(z.device)
    for copy, head in enumerate(chosen):
        z[copy, :, head] = donor_z[:, copy]
    attended: Tensor = reading.anatomy.outputs[layer](z.flatten(2))
    own = reading.output_matrices[layer][chosen]
    return attended + written(donor_z, donor.matrices[layer][chosen].to(own.device) - own)


def _refuse_untrue(reading: Reader, sequence: ProblemSequence, run: CleanRun) -> None:
    """Restarts with the recombined output of all heads of a layer, which must not change anything."""
    layer = len(reading.anatomy) // 2
    attended = written(run.z[layer], reading.output_matrices[layer]).sum(dim=0, keepdim=True)
    bias: Tensor | None = getattr(reading.anatomy.outputs[layer], "bias", None)
    with restarted(reading, run, layer, attended if bias is None else attended + bias):
        error = float((reading.score(sequence)[0] - run.log_p).abs().max())
    if not error <= TOLERANCE:
        raise KdprobeError(
            f"The heads of this architecture do not add up to its attention output (log p is off by {error:.2g}).",
            "Remove the analysis: effects of single heads would be wrong.",
        )


@contextmanager
def answering(module: nn.Module, tensor: Tensor, run: CleanRun) -> Iterator[None]:
    """While the block runs, a module returns this output without computing anything."""
    output = (tensor, None) if module in run.bundled else tensor

    def forward(*_: Any, **__: Any) -> Any:
        return output

    original = module.forward
    module.forward = forward
    try:
        yield
    finally:
        module.forward = original
