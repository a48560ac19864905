"""The weights of a model in memory: shared between models, copied, and looked at for what is not a number."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn


def same_weights(model: Any) -> Any:
    """The model's modules once more, over the same weights."""
    return copy.deepcopy(model, {id(weight): weight for weight in chain(model.parameters(), model.buffers())})


def without_weights(model: Any) -> Any:
    """The model's modules once more, with shapes in the place of weights: nothing done to them costs or changes any."""

    def shape(weight: Tensor) -> Tensor:
        empty = torch.empty_like(weight, device="meta")
        return nn.Parameter(empty, requires_grad=False) if isinstance(weight, nn.Parameter) else empty

    return copy.deepcopy(model, {id(weight): shape(weight) for weight in chain(model.parameters(), model.buffers())})


def own_weights(module: nn.Module) -> None:
    """Gives a module copies of its weights, which others may share with it."""
    for part in module.modules():
        for name, weight in part.named_parameters(recurse=False):
            # A copy of its own class: quantised weights keep what they are read by.
            setattr(part, name, copy.deepcopy(weight))


def not_finite(tensors: Iterable[tuple[str, Tensor]]) -> str | None:
    """The name of the first tensor with a NaN or an infinite number in it; `None` where there is none."""
    for name, tensor in tensors:
        # There is no `isfinite` for numbers of eight bits.
        numbers = tensor.float() if tensor.is_floating_point() and tensor.itemsize == 1 else tensor
        if not bool(numbers.isfinite().all()):
            return name
    return None
