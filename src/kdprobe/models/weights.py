"""The weights of a model: read whole, shared between models, copied, and looked at for what is not a number."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kdprobe.errors import KdprobeError, UsageError, first_line
from kdprobe.models.chatter import quiet
from kdprobe.models.reference import ModelRecord


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


def complete_model(record: ModelRecord, folder: Path, **known: Any) -> Any:
    """A model all of whose weights, and no others, were in its files; arguments as those of `from_pretrained`.

    transformers gives random numbers to weights that it does not find.

    Raises:
        KdprobeError: Weights are missing, left over, of another shape, or not finite.
    """
    from transformers import AutoModelForCausalLM

    try:
        with quiet():
            # Shapes that differ are refused below, in a sentence that names them.
            model, report = AutoModelForCausalLM.from_pretrained(
                folder, **known, trust_remote_code=False, output_loading_info=True, ignore_mismatched_sizes=True
            )
    except Exception as error:
        # Damaged files, unknown architectures, sizes that do not fit each other: every library has its own class.
        raise KdprobeError(
            f"The model {record.name!r} cannot be loaded: {first_line(error)}", "Check that the folder is complete."
        ) from error
    if fault := _fault(report, model):
        raise KdprobeError(
            f"The model {record.name!r} {fault}.",
            "Its files are incomplete, damaged, or belong to another config.json.",
        )
    return model


def _fault(report: dict[str, Any], model: Any) -> str | None:
    """What is wrong with the weights that were found, as the rest of a sentence."""
    if missing := sorted(report["missing_keys"]):
        return f"lacks {count_of(missing)}"
    if left_over := sorted(report["unexpected_keys"]):
        return f"has no place for {count_of(left_over)}"
    if other := sorted(report["mismatched_keys"]):
        name, found, expected = other[0]
        return f"has {name} in the shape {list(found)}, where {list(expected)} is expected"
    if broken := not_finite(model.state_dict().items()):
        return f"has numbers that are NaN or infinite in {broken}"
    return None


def count_of(names: Sequence[str]) -> str:
    """How many tensors these are, and which is the first."""
    return f"the tensor {names[0]}" if len(names) == 1 else f"{len(names)} tensors, among them {names[0]}"


def refuse_unknown_quantisation(record: ModelRecord, settings: Any) -> None:
    """Asks transformers' own reader of such weights whether it can work here.

    Args:
        record: The model.
        settings: What its configuration says of the quantisation.

    Raises:
        UsageError: It cannot.
    """
    from transformers.quantizers.auto import AutoHfQuantizer

    method = settings.get("quant_method") if isinstance(settings, dict) else getattr(settings, "quant_method", None)
    try:
        with quiet():
            reader = AutoHfQuantizer.from_config(settings, pre_quantized=True)
            reader.validate_environment(dtype=None, device_map=None, weights_only=True)
    except ImportError as error:
        raise UsageError(
            f"The weights of {record.name!r} are quantised ({method}), and a package that reads them is missing: "
            f"{first_line(error)}",
            "Install it, or choose weights that are not quantised.",
        ) from error
    except (ValueError, RuntimeError, AttributeError, TypeError, KeyError) as error:
        raise UsageError(
            f"The weights of {record.name!r} are quantised ({method}) in a way that cannot be read here: "
            f"{first_line(error)}",
            "Choose weights that are not quantised, or another machine.",
        ) from error
