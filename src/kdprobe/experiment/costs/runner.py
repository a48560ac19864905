"""How long a model takes to read, write and learn text, and what memory that takes, from shapes.

A pass takes as long as its arithmetic or its memory traffic, whichever is longer (Williams et al., "Roofline", 2009);
on a CPU, where one core does both, their sum. Every pass also costs a fixed time per layer, for the operations that are
too small to be either. Arithmetic is two operations per parameter and token (Kaplan et al., 2020, arXiv 2001.08361).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from kdprobe.experiment.costs.devices import Devices
from kdprobe.models.outline.sizes import Sizes

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
"""Bytes of a number of each data type."""
CHUNK = 32 * 2**20
"""Bytes of a chunk of logits, as in `kdprobe.models.lm_head`, which imports torch."""
_ADAM = 16
"""Bytes of a trained parameter: itself, its gradient and two moments, in float32."""
PROCESS = {"cpu": 0.75e9, "gpu": 1.5e9}
"""Bytes of a process that has loaded torch and transformers but no model; on a GPU, of its context and workspaces."""


@dataclass(frozen=True)
class Efficiency:
    """What programs reach of a device's peaks.

    Attributes:
        reading: Share of the peak arithmetic in passes over many tokens.
        training: Likewise with gradients.
        bandwidth: Share of the peak bandwidth.
        layer: Seconds per layer and pass for everything else.
        cache: How often the cache of keys and values is moved per step.
        start: Seconds to start and to import libraries.
        load: Bytes per second at which weights are loaded onto one device.
        kept: Memory that allocators hold in training, per byte in use.
    """

    reading: float
    training: float
    bandwidth: float
    layer: float
    cache: float
    start: float
    load: float
    kept: float


EAGER_CPU = Efficiency(0.7, 0.6, 1.0, 0.5e-3, 5, 3, 0.4e9, 1.4)
"""transformers on a CPU: its cache is copied as it grows, and repeated for the query heads that share it; the C library
does not return freed blocks of tensors of varying sizes."""
EAGER_GPU = Efficiency(0.4, 0.35, 0.7, 0.3e-3, 5, 15, 1e9, 1.1)
"""transformers on a GPU: some 40 kernels per layer, each started by Python."""
FUSED_GPU = Efficiency(0.5, 0.35, 0.7, 0.02e-3, 1, 60, 1e9, 1.1)
"""An engine such as vLLM, with captured graphs and a paged cache."""
_NODE = 8
"""GPUs that are connected directly."""
_SUMS = {True: 2 * 20e-6, False: 2 * 50e-6}
"""Seconds per layer and pass for the two sums over the GPUs that share it, within a node and between nodes."""


@dataclass(frozen=True)
class Runner:
    """A model on devices that share its weights and its work.

    Attributes:
        sizes: Its sizes.
        dtype: The data type of its weights.
        devices: The devices.
        fused: Whether an engine such as vLLM runs it.
        spread: Whether transformers runs it with its layers spread over the devices, which then take turns.
        shards: Processes among which FSDP2 divides its weights in training; 1 if each has all of them.
    """

    sizes: Sizes
    dtype: str
    devices: Devices
    fused: bool = False
    spread: bool = False
    shards: int = 1

    @property
    def divided(self) -> bool:
        """Whether each device has only a part of the weights; the cores of a CPU have one memory."""
        return (self.fused or self.spread) and not self.devices.model.is_cpu

    @property
    def efficiency(self) -> Efficiency:
        """What it reaches of the peaks."""
        return EAGER_CPU if self.devices.model.is_cpu else FUSED_GPU if self.fused else EAGER_GPU

    @property
    def width(self) -> int:
        """Bytes of a number."""
        return BYTES[self.dtype]

    @property
    def weights(self) -> float:
        """Bytes of the weights, on all devices together."""
        return self.sizes.weights(self.width)

    @property
    def weights_in_training(self) -> float:
        """Bytes of the weights that a process holds in training.

        Under FSDP2 they are its slices; the output matrix, which is not divided; what else lies outside the layers,
        gathered from all processes; and likewise a layer, and the next one, which is fetched meanwhile.
        """
        if self.shards == 1:
            return self.weights
        sizes = self.sizes
        outside = sizes.embedding - (sizes.head if sizes.tied else 0)
        gathered = outside + 2 * sizes.body / sizes.layers
        return (sizes.head + (sizes.parameters - sizes.head) / self.shards + gathered) * self.width

    @property
    def load_seconds(self) -> float:
        """From nothing to loaded weights."""
        return self.efficiency.start + self.weights / (self._share if self.fused else 1) / self.efficiency.load

    def reading_seconds(self, tokens: float, context: float, rows: float, batches: float) -> float:
        """Passes over text.

        Args:
            tokens: All tokens.
            context: Tokens of a text, each of which attends to half of them.
            rows: Positions whose log-probabilities are computed.
            batches: Number of passes.
        """
        arithmetic = 2 * self.sizes.active * tokens + 2 * self.sizes.head * rows + self._attention(tokens, context / 2)
        traffic = batches * self._touched(tokens / max(batches, 1)) + rows * self.sizes.vocabulary * 4 * 4
        return self._seconds(arithmetic, self.efficiency.reading, traffic, batches)

    def writing_seconds(self, sequences: float, prompt: float, new: float, batch: float) -> float:
        """Answers to prompts, in batches that are as long as their longest answer.

        Args:
            sequences: Number of answers.
            prompt: Tokens of a prompt.
            new: Tokens of an answer.
            batch: Answers at a time.
        """
        rows = min(batch, sequences)
        steps = new * sequences / rows
        context = prompt + new / 2
        arithmetic = 2 * (self.sizes.active + self.sizes.head) * rows + self._attention(rows, context)
        cache = rows * context * self.sizes.cached(self.width) * self.efficiency.cache
        traffic = self._touched(rows) + cache + rows * self.sizes.vocabulary * 4 * 8
        step = self._seconds(arithmetic, self.efficiency.reading, traffic, 1)
        read = self.reading_seconds(sequences * prompt, prompt, sequences, math.ceil(sequences / rows))
        return read + steps * step

    def training_seconds(self, tokens: float, context: float, rows: float, batches: float, *, again: bool) -> float:
        """Forward and backward passes with an adapter, whose own arithmetic is negligible.

        Frozen weights need gradients of their inputs only: as much again as the forward pass.

        Args:
            tokens: All tokens.
            context: Tokens of an example.
            rows: Positions that are learnt.
            batches: Number of passes.
            again: Whether activations are computed again in the backward pass.
        """
        passes = 3 if again else 2
        arithmetic = passes * 2 * self.sizes.active * tokens + 2 * 2 * self.sizes.head * rows
        arithmetic += (passes + 1) * self._attention(tokens, context / 2)
        traffic = batches * passes * self._touched(tokens / max(batches, 1)) + rows * self.sizes.vocabulary * 4 * 8
        return self._seconds(arithmetic, self.efficiency.training, traffic, passes * batches)

    def running_memory(self, batch: float, prompt: float, new: float) -> float:
        """Bytes on each device while answers are written, the process included."""
        tokens = batch * (prompt + new)
        # While one layer's cache grows, it is there twice.
        cache = tokens * self.sizes.cached(self.width) * (1 + 1 / self.sizes.layers)
        states = batch * prompt * (6 * self.sizes.hidden + 3 * self.sizes.inner) * self.width
        logits = batch * self.sizes.vocabulary * 4 * 4
        if self.fused or not self.divided:
            return self._process + (self.weights + cache + states + logits) / self._share
        # Whole layers and matrices are divided, and each device holds all that one of them computes.
        largest = max(self.sizes.body / self.sizes.layers, self.sizes.head) * self.width
        return self._process + (self.weights + cache) / self._share + largest + states + logits

    def most_rows(self, length: float) -> int:
        """Answers of this length, prompt included, whose keys and values fit beside the weights; 0 for none."""
        free = 0.9 * self._share * (self.devices.model.memory - self._process) - self.weights
        return max(0, int(free / (length * self.sizes.cached(self.width))))

    def training_memory(self, batch: float, context: float, adapter: int, *, again: bool) -> float:
        """Bytes on each device in training, the process included."""
        sizes = self.sizes
        layer = sizes.activations(self.width)
        kept = sizes.layers * sizes.hidden * self.width + layer if again else sizes.layers * layer
        states = batch * context * (kept + 2 * sizes.hidden * 4) * self.efficiency.kept
        return self._process + self.weights_in_training + states + adapter * _ADAM / self.shards + 4 * CHUNK

    @property
    def _share(self) -> int:
        """Devices among which the weights are divided; otherwise each has all of them."""
        return self.devices.count if self.divided else 1

    @property
    def _process(self) -> float:
        return PROCESS["cpu" if self.devices.model.is_cpu else "gpu"]

    def _attention(self, tokens: float, context: float) -> float:
        return 4 * self.sizes.layers * self.sizes.heads * self.sizes.head_dim * tokens * context

    def _touched(self, tokens: float) -> float:
        """Bytes of the weights that a pass over some tokens reads."""
        return self.sizes.moved(tokens, self.width)

    def _seconds(self, arithmetic: float, share: float, traffic: float, passes: float) -> float:
        device, count = self.devices.model, 1 if self.spread else self.devices.count
        peak = device.single if self.dtype == "float32" else device.half
        computing = arithmetic / (peak * count * share)
        moving = traffic / (device.bandwidth * count * self.efficiency.bandwidth)
        both = computing + moving if device.is_cpu else max(computing, moving)
        layer = self.efficiency.layer + (_SUMS[count <= _NODE] if self.fused and count > 1 else 0)
        return both + passes * self.sizes.layers * layer
