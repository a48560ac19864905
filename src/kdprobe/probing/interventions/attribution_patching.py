"""All heads at once, to first order: one backward pass estimates the effect of replacing each head's output.

Attribution patching (Nanda, 2023, https://www.neelnanda.io/mechanistic-interpretability/attribution-patching; Syed et
al., 2023, arXiv 2310.10348): with g the gradient of the log-probability with respect to a layer's attention output,

    effect of head h  ~  sum over positions of  g . (replacement - own output)

It ranks heads for exact runs. Where effects saturate, the estimate may be too small, much too large, or have the wrong
sign.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from kdprobe.console import Progress
from kdprobe.probing.interventions.forward import TARGETS, Reader, clean_run
from kdprobe.probing.interventions.replacement import Donor
from kdprobe.students.sequence import ProblemSequence


def screened_effects(reading: Reader, sequences: Sequence[ProblemSequence], donor: Donor, *, bar: Progress) -> Tensor:
    """First-order effects of replacing each head individually.

    Args:
        reading: The student.
        sequences: What it reads.
        donor: The replacement for their outputs.
        bar: Advanced by one per sequence.

    Returns:
        `[sequence, layer, head, target]`, float64, in nats.
    """
    matrices = reading.output_matrices
    layers, heads = len(matrices), reading.anatomy.heads
    effects = torch.zeros(len(sequences), layers, heads, len(TARGETS), dtype=torch.float64)
    for index, sequence in enumerate(sequences):
        with torch.enable_grad(), gradients_from_the_first_layer(reading):
            run = clean_run(reading, sequence)
            slopes = [
                torch.autograd.grad(log_p, run.attended, retain_graph=target + 1 < len(TARGETS))
                for target, log_p in enumerate(run.log_p)
            ]
        with torch.no_grad():
            for target, slope in enumerate(slopes):
                for layer in range(layers):
                    own = _slope_times_output(slope[layer][0], run.z[layer].detach(), matrices[layer])
                    donor_z, donor_w = (each[layer].to(own.device) for each in (donor.z[index], donor.matrices))
                    replaced = _slope_times_output(slope[layer][0], donor_z, donor_w)
                    effects[index, layer, :, target] = (replaced - own).double().cpu()
        bar.advance(1)
    return effects


@contextmanager
def gradients_from_the_first_layer(reading: Reader) -> Iterator[None]:
    """Weights are frozen, so the graph starts at the input of the first layer."""

    def begin(_module: Any, positional: Any, keyword: Any) -> None:
        (positional[0] if positional else keyword["hidden_states"]).requires_grad_()

    handle = reading.anatomy.layers[0].register_forward_pre_hook(begin, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def _slope_times_output(slope: Tensor, z: Tensor, matrices: Tensor) -> Tensor:
    """The product g . (z W_O) per head, `[head]`, computed as z . (g W_O^T) to keep intermediate tensors small.

    Args:
        slope: `[position, d_model]`.
        z: `[position, head, head_dim]`, or one position for all.
        matrices: `[head, head_dim, d_model]`.
    """
    turned = torch.einsum("sd,hid->shi", slope, matrices)
    return (z * turned).sum(dim=(0, 2))
