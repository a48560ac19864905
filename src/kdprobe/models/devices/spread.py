"""Models whose weights are spread over several devices by accelerate.

Each module has a hook that moves its inputs to its own device, so the devices take turns. Weights for which no GPU has
room are offloaded: they stay in main memory or on disk, and are present in the model only while their module runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from kdprobe.console.messages import note
from kdprobe.errors import UsageError
from kdprobe.models.devices.placement import Placement
from kdprobe.words import counted, enumerated

if TYPE_CHECKING:
    from kdprobe.models.reference import ModelRecord

_HOOK = "_hf_hook"
"""Where accelerate keeps a module's hook."""


def placing(record: ModelRecord, placement: Placement | None) -> dict[str, Any]:
    """The arguments of `from_pretrained` that spread a model's weights; none if one device holds them.

    Raises:
        UsageError: The weights cannot be spread, or a GPU is named that this process does not see.
    """
    if placement is None:
        return {}
    if record.is_packed:
        raise UsageError(
            f"The weights of {record.name!r} are quantised ({record.quantisation}), and kdprobe does not spread such "
            "weights over several devices.",
            "Leave out device_map, choose weights that are not quantised, or use the package kdprobe-vllm.",
        )
    seen = torch.cuda.device_count()
    if absent := [device for device, _ in placement.max_memory if device.isdecimal() and int(device) >= seen]:
        raise UsageError(
            f"max_memory names GPU {absent[0]}, but this process sees {counted(seen, 'GPU')}, counted from 0.",
            "Correct max_memory, or run on a machine with more GPUs.",
        )
    return placement.arguments


def placed(model: Any, record: ModelRecord, placement: Placement | None, device: str) -> Any:
    """A model that was just loaded, on its device, or as accelerate spread it.

    Args:
        model: The model.
        record: Which weights these are. Quantised ones stay where their loader put them.
        placement: How they were spread, or `None`.
        device: Where they go otherwise.
    """
    if placement is None:
        return model if record.is_packed else model.to(device)
    devices = devices_of(model)
    if len(devices) > 1:
        from kdprobe.models.devices.positions import keep_positions_anywhere

        keep_positions_anywhere(model)
        note(f"The weights of {record.name} are spread over {enumerated([str(each) for each in devices])}.")
    if absent := offloaded(model):
        they_are = "It is" if len(absent) == 1 else "They are"
        note(
            f"{counted(len(absent), 'weight')} of {record.name} did not fit into the memory of the devices. {they_are} "
            "read from main memory or disk in every pass, which takes many times as long."
        )
    return model


def input_device(model: Any) -> torch.device:
    """The device that a model's inputs go to; the results come back to it."""
    embeddings = model.get_input_embeddings()
    first: Tensor = next(chain(embeddings.parameters(), model.parameters()))
    # While offloaded weights are absent, only the hook knows where they will be.
    return torch.device(getattr(embeddings, _HOOK).execution_device) if first.is_meta else first.device


def devices_of(model: Any) -> list[torch.device]:
    """The devices that take part in a model's passes."""
    weights = (weight.device for weight in model.parameters() if not weight.is_meta)
    return list(dict.fromkeys([input_device(model), *weights]))


def offloaded(model: Any) -> list[str]:
    """The names of a model's weights that are present only while their module runs."""
    return [name for name, weight in model.named_parameters() if weight.is_meta]


def weights_in_full(model: Any) -> Iterator[tuple[str, Tensor]]:
    """All weights and saved buffers by name, one after the other, offloaded ones included."""
    from transformers.integrations.accelerate import load_offloaded_parameter

    for name, weight in model.state_dict().items():
        yield name, load_offloaded_parameter(model, name) if weight.is_meta else weight


def offload_maps(model: nn.Module) -> Iterator[Any]:
    """What accelerate's hooks read offloaded weights from: copies of a model share it, like the weights themselves."""
    hooks = (getattr(module, _HOOK, None) for module in model.modules())
    maps = (getattr(hook, "weights_map", None) for hook in hooks)
    return (each for each in maps if each is not None)


def refuse_offloaded(loaded: Any, what: str) -> None:
    """Checks that all weights of a model are present.

    Args:
        loaded: A `LoadedModel`.
        what: What needs them, as the beginning of a sentence.

    Raises:
        UsageError: Some are offloaded: what reads or changes them here would not be what passes use.
    """
    if absent := offloaded(loaded.model):
        do, are = ("does", "is") if len(absent) == 1 else ("do", "are")
        raise UsageError(
            f"{what} needs all weights of {loaded.record.name!r} in device memory, but {len(absent)} {do} not fit and "
            f"{are} read from main memory or disk in every pass.",
            "Use more or larger GPUs, raise max_memory, or choose a data type with fewer bits.",
        )
