"""The weights of a model: loaded completely, shared between models, copied, and checked for NaN and infinity."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from kdprobe.errors import KdprobeError, UsageError, first_line
from kdprobe.models.chatter import quiet
from kdprobe.models.devices.spread import offload_maps, weights_in_full
from kdprobe.models.reference import ModelRecord


def same_weights(model: Any) -> Any:
    """A copy of the model's modules over the same weights, and, if they are quantised, over the same scales."""
    scales = (module.quant_state for module in model.modules() if hasattr(module, "quant_state"))
    shared = (*model.parameters(), *model.buffers(), *scales, *offload_maps(model))
    return copy.deepcopy(model, {id(each): each for each in shared})


def without_weights(model: Any) -> Any:
    """A copy of the model's modules with shapes instead of weights, so that operations on it are cheap."""

    def shape(weight: Tensor) -> Tensor:
        if type(weight) not in {nn.Parameter, Tensor}:
            # Quantised weights have attributes that modules next to them read; operations on them are never run.
            return weight
        empty = torch.empty_like(weight, device="meta")
        return nn.Parameter(empty, requires_grad=False) if isinstance(weight, nn.Parameter) else empty

    return copy.deepcopy(model, {id(weight): shape(weight) for weight in chain(model.parameters(), model.buffers())})


def own_weights(module: nn.Module) -> None:
    """Gives a module its own copies of weights that it may share with others."""
    for part in module.modules():
        for name, weight in part.named_parameters(recurse=False):
            # A copy of the same class: quantised weights keep their metadata.
            setattr(part, name, copy.deepcopy(weight))


def whole(weight: Tensor) -> Tensor:
    """The whole of a weight of which each process that trains may have a slice; all processes must call it then."""
    return weight.full_tensor() if isinstance(weight, DTensor) else weight


def not_finite(tensors: Iterable[tuple[str, Tensor]]) -> str | None:
    """The name of the first tensor with NaN or infinite numbers; `None` if there is none."""
    return next((name for name, tensor in tensors if not _is_finite(tensor)), None)


def _is_finite(tensor: Tensor) -> bool:
    if not tensor.is_floating_point() or not tensor.numel():
        return True
    # aminmax does not support 8-bit floats. It passes NaN on; a mask of the tensor's size would take 25 times as long.
    extremes = (tensor.float() if tensor.itemsize == 1 else tensor).aminmax()
    return all(bool(extreme.isfinite()) for extreme in extremes)


def complete_model(record: ModelRecord, folder: Path, **known: Any) -> Any:
    """A model whose weights are exactly those in its files; arguments as for `from_pretrained`.

    transformers initialises weights that it does not find at random.

    Raises:
        KdprobeError: Weights are missing, left over, of a wrong shape, or not finite.
    """
    from transformers import AutoModelForCausalLM

    try:
        with quiet():
            # Mismatched shapes are rejected below, with an error that names them.
            model, report = AutoModelForCausalLM.from_pretrained(
                folder, **known, trust_remote_code=False, output_loading_info=True, ignore_mismatched_sizes=True
            )
    except Exception as error:
        # Damaged files, unknown architectures, contradictory sizes: every library has its own class.
        raise KdprobeError(
            f"Cannot load the model {record.name!r}: {first_line(error)}", "Check that the folder is complete."
        ) from error
    if fault := _fault(report, model):
        raise KdprobeError(
            f"The model {record.name!r} {fault}.",
            "Its files are incomplete or damaged, or do not belong to its config.json.",
        )
    return model


def _fault(report: dict[str, Any], model: Any) -> str | None:
    """What is wrong with the loaded weights, as the end of a sentence; `None` if nothing is."""
    if missing := sorted(report["missing_keys"]):
        return f"lacks {count_of(missing)}"
    if left_over := sorted(report["unexpected_keys"]):
        return f"does not use {count_of(left_over)}"
    if other := sorted(report["mismatched_keys"]):
        name, found, expected = other[0]
        return f"has a tensor of the wrong shape: {name} is {list(found)}, expected {list(expected)}"
    if broken := not_finite(weights_in_full(model)):
        return f"has NaN or infinite numbers in {broken}"
    return None


def count_of(names: Sequence[str]) -> str:
    """Counts tensors, and names the first."""
    return f"the tensor {names[0]}" if len(names) == 1 else f"{len(names)} tensors, such as {names[0]}"


def refuse_unknown_quantisation(record: ModelRecord, settings: Any) -> None:
    """Checks with transformers' own loader for such weights whether it works here.

    Args:
        record: The model.
        settings: The quantisation settings in its configuration.

    Raises:
        UsageError: The loader does not work here.
    """
    from transformers.quantizers.auto import AutoHfQuantizer

    method = settings.get("quant_method") if isinstance(settings, dict) else getattr(settings, "quant_method", None)
    try:
        with quiet():
            reader = AutoHfQuantizer.from_config(settings, pre_quantized=True)
            reader.validate_environment(dtype=None, device_map=None, weights_only=True)
    except ImportError as error:
        raise UsageError(
            f"The weights of {record.name!r} are quantised ({method}), and a package needed to read them is missing: "
            f"{first_line(error)}",
            "Install it, or choose weights that are not quantised.",
        ) from error
    except (ValueError, RuntimeError, AttributeError, TypeError, KeyError) as error:
        raise UsageError(
            f"The weights of {record.name!r} are quantised ({method}) in a way that is not supported here: "
            f"{first_line(error)}",
            "Choose weights that are not quantised, or another machine.",
        ) from error
