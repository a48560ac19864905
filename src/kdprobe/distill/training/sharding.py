"""FSDP2: a model whose weights are divided among processes, and whole tensors of it.

transformers would save each process's slice of an adapter, or the whole base with every checkpoint. Here what is kept
of a sharded model is gathered first, so files are those of one process. All processes must call these functions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from kdprobe.models.weights import whole


def like(tensor: Tensor, target: Tensor) -> Tensor:
    """A whole tensor, divided among processes like another one."""
    if not isinstance(target, DTensor):
        return tensor
    return distribute_tensor(tensor.to(target.device), target.device_mesh, target.placements)


def trained(model: Any) -> Iterator[tuple[str, nn.Parameter]]:
    """The names and parameters that training changes."""
    return ((name, weight) for name, weight in model.named_parameters() if weight.requires_grad)


def whole_adapter(model: Any) -> dict[str, Tensor]:
    """The weights that training changes, by name, on the CPU."""
    return {name: whole(weight.detach()).cpu().clone() for name, weight in trained(model)}


def replicate_head(model: Any, device: torch.device) -> tuple[Tensor, list[nn.Module]]:
    """Moves a model's output matrix to a device, where every process keeps all of it: the loss reads it in chunks.

    Returns:
        matrix: The output matrix, frozen.
        modules: Those that contain it, for accelerate to leave alone: the output layer, and the embeddings if tied.
    """
    weight = model.get_output_embeddings().weight
    weight.data = weight.data.to(device)
    holders = [module for module in model.modules() if any(own is weight for own in module.parameters(recurse=False))]
    return weight.detach(), holders


def whole_state(optimiser: Any) -> dict[str, Any]:
    """An optimiser's state, as one process would have it."""
    state = optimiser.state_dict()
    return {
        **state,
        "state": {index: _each(values, lambda value: whole(value).cpu()) for index, values in state["state"].items()},
    }


def load_whole_state(optimiser: Any, state: dict[str, Any]) -> None:
    """Gives an optimiser its part of a state from `whole_state`."""
    weights: Sequence[Tensor] = [weight for group in optimiser.param_groups for weight in group["params"]]

    def own(weight: Tensor, value: Tensor) -> Tensor:
        # Of the same shape as its weight, unless it counts steps.
        return like(value, weight) if value.shape == weight.shape else value

    divided = {
        index: _each(values, lambda value, weight=weights[index]: own(weight, value))
        for index, values in state["state"].items()
    }
    optimiser.load_state_dict({**state, "state": divided})


def _each(values: Mapping[str, Any], change: Any) -> dict[str, Any]:
    return {name: change(value) if isinstance(value, Tensor) else value for name, value in values.items()}
