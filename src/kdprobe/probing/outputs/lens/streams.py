"""Every layer's residual stream, read through the final norm and the unembedding."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from kdprobe.errors import KdprobeError, NonFiniteError
from kdprobe.models.anatomy import decoder_layers
from kdprobe.probing.drift.divergence import log_distribution, token_divergences
from kdprobe.probing.outputs.differences.reading import Reading
from kdprobe.students.sequence import ProblemSequence

_SAMPLE = tuple(range(9))


@dataclass(frozen=True)
class Lens:
    """A model whose layers are read.

    Attributes:
        reading: The model, with its output layer detached.
        layers: Its layers.
        norm: What the residual stream passes through between the last layer and the output layer.
    """

    reading: Reading
    layers: list[nn.Module]
    norm: nn.Module


@dataclass(frozen=True)
class LayerValues:
    """What the lens shows at each token of one solution, `[layer, token]`, in nats.

    Attributes:
        kl: KL(final || lens): from the model's own final distribution to that of the layer.
        log_p: Log-probability of the gold token.
    """

    kl: NDArray[np.float64]
    log_p: NDArray[np.float64]


@torch.inference_mode()
def lens_of(reading: Reading) -> Lens:
    """Finds a model's layers, and the norm after the last.

    Raises:
        KdprobeError: The output layer reads something other than the normalised output of the last layer.
    """
    layers, home = decoder_layers(reading.loaded.model), reading.loaded.device
    calls: list[tuple[nn.Module, Tensor, Tensor]] = []
    streams: list[Tensor] = []

    def called(module: nn.Module, inputs: Any, output: Any) -> None:
        if inputs and isinstance(inputs[0], Tensor) and isinstance(output, Tensor):
            calls.append((module, inputs[0].to(home), output.to(home)))

    with ExitStack() as stack:
        for layer in layers[-1:]:
            stack.callback(layer.register_forward_hook(_keep(streams, 0, home)).remove)
        for module in reading.loaded.model.modules():
            if not any(module.children()):
                stack.callback(module.register_forward_hook(called).remove)
        states = reading.states(_SAMPLE)
    for stream in streams:
        if _same(stream[:-1], states):
            return Lens(reading, layers, nn.Identity())
        for module, read, written in calls:
            if _same(read[0], stream) and _same(written[0][:-1], states):
                return Lens(reading, layers, module)
    kind = reading.loaded.model.config.model_type
    raise KdprobeError(
        f"kdprobe cannot find the norm after the last layer of this architecture ({kind}).",
        "Remove the analysis, or leave these students out with its option `students`.",
    )


@torch.inference_mode()
def layer_values(lens: Lens, sequence: ProblemSequence) -> LayerValues:
    """Reads a problem; logits exist for a few tokens of two layers at a time.

    Args:
        lens: The model.
        sequence: The problem; its solution's tokens are examined, with the end of turn.

    Raises:
        NonFiniteError: A value is NaN or infinite.
    """
    reading, first = lens.reading, sequence.begin - 1
    streams: list[Tensor] = []
    with ExitStack() as stack:
        for layer in lens.layers:
            stack.callback(layer.register_forward_hook(_keep(streams, first, reading.loaded.device)).remove)
        states = reading.states(sequence.ids)[first:]
    gold = torch.tensor(sequence.ids[sequence.begin :], device=states.device)
    values = np.empty((2, len(streams), len(states)))
    for rows in reading.chunks(len(states)):
        final = log_distribution(reading.output.logits(states[rows]))
        for index, stream in enumerate(streams):
            # The last position predicts nothing.
            logits = reading.output.logits(lens.norm(stream[:-1][rows]).to(states.device))
            shown = log_distribution(logits)
            found = torch.stack([token_divergences(final, shown), shown.gather(1, gold[rows, None])[:, 0]])
            values[:, index, rows] = found.double().cpu().numpy()
    if not np.isfinite(values).all():
        raise NonFiniteError(f"The residual stream of {reading.name!r} is NaN or infinite.")
    return LayerValues(*values)


def _keep(streams: list[Tensor], first: int, device: torch.device) -> Callable[..., None]:
    """A hook that keeps what a layer writes from a position on, `[position, d_model]`, on one device."""

    def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
        stream = output[0] if isinstance(output, tuple) else output
        # Copied, because some layers add in place.
        streams.append(stream[0, first:].to(device, copy=True))

    return hook


def _same(first: Tensor, second: Tensor) -> bool:
    return first.shape == second.shape and bool(torch.equal(first, second))
