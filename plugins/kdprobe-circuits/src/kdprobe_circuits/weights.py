"""The weights of a student's heads from TransformerLens, with norms folded in, in float64."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kdprobe import KdprobeError
from kdprobe.probing import AnalysisContext
from kdprobe.students import boot

_CHECKED = 2
"""Sequences in the self-check: two, so that one of them is padded."""


@dataclass(frozen=True)
class Circuits:
    """A student's weights.

    Attributes:
        name: The student's name.
        bridge: The student in TransformerLens, with its adapter merged, since accessors do not see unmerged adapters.
        tokenizer: Its tokenizer.
    """

    name: str
    bridge: Any
    tokenizer: Any

    @property
    def layers(self) -> int:
        """Number of layers."""
        return int(self.bridge.cfg.n_layers)

    @property
    def heads(self) -> int:
        """Number of query heads per layer."""
        return int(self.bridge.cfg.n_heads)

    @property
    def embedding(self) -> Tensor:
        """The embedding of real tokens, `[V, width]`."""
        return self._exact(self.bridge.W_E)[: len(self.tokenizer)]

    @property
    def unembedding(self) -> Tensor:
        """The unembedding of real tokens, with the final norm's scale, `[width, V]`."""
        return _scale(self.bridge.ln_final)[:, None] * self._exact(self.bridge.W_U)[:, : len(self.tokenizer)]

    def value(self, layer: int) -> Tensor:
        """Value weights of each query head, with the scale of the norm before attention, `[head, width, d_head]`.

        Query heads that share a value head (grouped-query attention) share its weights.
        """
        shared = self._exact(self.bridge.W_V[layer])
        own = shared.repeat_interleave(self.heads // len(shared), dim=0)
        return own if self._before(layer) is None else _scale(self._before(layer))[:, None] * own

    def value_bias(self, layer: int) -> Tensor:
        """Value bias, `[head, d_head]`; zero in models without one."""
        try:
            shared = self._exact(self.bridge.b_V[layer])
        except AttributeError:
            return torch.zeros(self.heads, int(self.bridge.cfg.d_head), dtype=torch.float64)
        return shared.reshape(-1, int(self.bridge.cfg.d_head)).repeat_interleave(
            self.heads * int(self.bridge.cfg.d_head) // shared.numel(), dim=0
        )

    def output(self, layer: int) -> Tensor:
        """Output weights of each head, with the scale of any norm after attention, `[head, d_head, width]`."""
        behind = _part(self.bridge.blocks[layer], "ln1_post")
        written = self._exact(self.bridge.W_O[layer])
        return written if behind is None else written * _scale(behind)

    def read(self, layer: int, states: Tensor) -> Tensor:
        """Normalises states `[..., width]` as attention reads them, without the norm's scale, which is in `value`."""
        if self._before(layer) is None:
            return states
        return states * torch.rsqrt(states.square().mean(dim=-1, keepdim=True) + float(self.bridge.cfg.eps))

    def _before(self, layer: int) -> Any:
        """The norm before attention, or `None` (OLMo 2)."""
        return _part(self.bridge.blocks[layer], "ln1")

    @staticmethod
    def _exact(weight: Tensor) -> Tensor:
        return weight.detach().double().cpu()


def circuits(context: AnalysisContext) -> Iterator[Circuits]:
    """Yields the students in turn; only one is in memory at a time.

    Raises:
        KdprobeError: A model does not use RMSNorm, the only norm whose scale can be folded into weights.
    """
    check = [sequence.ids for sequence in context.sequences[:_CHECKED]]
    for student in context.students:
        booted = boot(student, check)
        if booted.bridge.cfg.normalization_type != "RMS":
            raise KdprobeError(
                f"The student {student.name!r} uses {booted.bridge.cfg.normalization_type}, but these analyses need "
                "RMSNorm.",
                "Use a model such as Llama, Qwen, Mistral or SmolLM.",
            )
        yield Circuits(student.name, booted.bridge, booted.tokenizer)


def _part(block: Any, name: str) -> Any:
    return dict(block.named_children()).get(name)


def _scale(norm: Any) -> Tensor:
    """The scale of an RMSNorm, `[width]`: its output for ones, since some models store the scale minus one."""
    weight = next(norm.parameters())
    with torch.inference_mode():
        scale: Tensor = norm(torch.ones(1, 1, weight.shape[-1], dtype=weight.dtype, device=weight.device))[0, 0]
    return scale.double().cpu()
