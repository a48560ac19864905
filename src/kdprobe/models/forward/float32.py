"""Computes in float32 with weights that are stored in 16 bits, without a second copy of the model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from kdprobe.models.anatomy import decoder_layers

REDUCED = (torch.bfloat16, torch.float16)
"""The data types that have fewer digits than float32."""
COMPUTE_DTYPE = "compute_dtype"
"""What bitsandbytes calls the data type to which its modules convert inputs and their quantised weights."""


@contextmanager
def computed_in_float32(*models: Any) -> Iterator[None]:
    """While the context is open, models compute in float32 with the weights that they have, quantised ones included.

    The weights of one part at a time (a layer, the embeddings, the output layer) are replaced by float32 copies while
    that part runs, and are then put back. Models whose weights are float32 compute as always.

    Args:
        models: Hugging Face models, wrapped by PEFT or by TransformerLens or not.
    """
    with ExitStack() as stack:
        for model in models:
            for part, modules in _parts(model, set(decoder_layers(model))):
                if any(tensor.dtype in REDUCED for _, _, tensor in _tensors(modules)) or any(
                    getattr(module, COMPUTE_DTYPE, None) in REDUCED for module in modules
                ):
                    upcast = _Upcast(modules)
                    stack.callback(part.register_forward_pre_hook(upcast.enter, prepend=True).remove)
                    # Also if an exception ends the pass early, as when only patterns are read.
                    stack.callback(part.register_forward_hook(upcast.leave, always_call=True).remove)
        yield


class _Upcast:
    """Replaces the tensors of modules by float32 copies, and puts them back."""

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        self._modules = modules
        self._held: list[tuple[nn.Module, str, Any]] = []

    def enter(self, *_: Any) -> None:
        for module, name, tensor in list(_tensors(self._modules)):
            if tensor.dtype in REDUCED and not hasattr(tensor, "quant_state"):
                self._held.append((module, name, tensor))
                copy = tensor.detach().float()
                setattr(
                    module, name, nn.Parameter(copy, requires_grad=False) if isinstance(tensor, nn.Parameter) else copy
                )

        for module in self._modules:
            if getattr(module, COMPUTE_DTYPE, None) in REDUCED:
                self._held.append((module, COMPUTE_DTYPE, getattr(module, COMPUTE_DTYPE)))
                setattr(module, COMPUTE_DTYPE, torch.float32)

    def leave(self, *_: Any) -> None:
        while self._held:
            setattr(*self._held.pop())


def _parts(module: nn.Module, layers: set[nn.Module]) -> Iterator[tuple[nn.Module, list[nn.Module]]]:
    """The parts of a model that run one after the other, each with the modules whose tensors it uses."""
    inside = list(module.modules())
    if module in layers or layers.isdisjoint(inside):
        yield module, inside
        return
    yield module, [module]
    for child in module.children():
        yield from _parts(child, layers)


def _tensors(modules: Sequence[nn.Module]) -> Iterator[tuple[nn.Module, str, Tensor]]:
    for module in modules:
        for name, tensor in chain(module.named_parameters(recurse=False), module.named_buffers(recurse=False)):
            yield module, name, tensor
