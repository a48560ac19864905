"""Weights that bitsandbytes keeps in 4 or 8 bits: how they are quantised on load, and what a model computes with them.

A model computes with the weights that its bits stand for, in one data type, forwards and backwards. bitsandbytes would
not, without a word: layers in 4 bits compute in the data type that their file states, gradients pass through weights
rounded to the type that they had before, and on some CPUs the weights are reordered in place to compute in bfloat16.
Layers in 8 bits also round their inputs to 8 bits, except in columns with outliers anywhere in the batch (LLM.int8(),
Dettmers et al., 2022, arXiv 2208.07339), so that an answer would depend on the others in its batch.
"""

from __future__ import annotations

import logging
import sys
from itertools import chain
from types import ModuleType
from typing import Any

import torch
from torch import nn

from kdprobe.errors import KdprobeError
from kdprobe.models.anatomy import decoder_layers
from kdprobe.models.forward.float32 import COMPUTE_DTYPE
from kdprobe.models.installed import importable
from kdprobe.models.reference import ModelRecord

_LEAST = 0.5
"""Share of the weights in layers that must have been quantised on load."""
_MATRIX = 2
_FETCHING = "kernels"
"""The package that fetches code from the Hub."""


def import_bitsandbytes() -> None:
    """Imports bitsandbytes, if it is installed, without code that it would fetch.

    On some CPUs, it downloads a kernel from the Hub and runs it, if the package `kernels` is installed, and otherwise
    prints the advice to install that. PEFT imports it too, with any adapter, so this must come first. kdprobe's layers
    do not use that kernel.
    """
    if "bitsandbytes" in sys.modules or not importable("bitsandbytes"):
        return
    modules: dict[str, ModuleType | None] = sys.modules  # type: ignore[assignment]  # with None, imports fail
    logger, before = logging.getLogger("bitsandbytes.backends.cpu.ops"), modules.pop(_FETCHING, None)
    modules[_FETCHING] = None
    logger.disabled = True
    try:
        import bitsandbytes  # noqa: F401
    finally:
        logger.disabled = False
        del modules[_FETCHING]
        if before is not None:
            modules[_FETCHING] = before


def arguments_on_load(record: ModelRecord, device: str) -> dict[str, Any]:
    """Arguments for `from_pretrained` of a model that is quantised on load; `settle` must follow.

    Weights are quantised from float32, so that their bits do not depend on the data type in which a stage computes.

    Args:
        record: The model.
        device: The device.
    """
    from transformers import BitsAndBytesConfig

    kinds: dict[str | None, dict[str, Any]] = {
        "nf4": {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
        "int8": {"load_in_8bit": True},
    }
    settings = BitsAndBytesConfig(**kinds[record.quantised_on_load])
    return {"quantization_config": settings, "device_map": {"": device}, "dtype": torch.float32}


def settle(record: ModelRecord, model: Any, dtype: torch.dtype) -> None:
    """Makes a model whose weights stay quantised compute in one data type.

    Args:
        record: The model.
        model: As loaded by transformers; its modules are changed.
        dtype: The data type, also of the weights that bitsandbytes does not quantise.

    Raises:
        KdprobeError: Most weights that were to be quantised on load were not, or they are decoded wrongly here.
    """
    if record.quantised_on_load:
        _refuse_unquantised(record, model)
    if record.is_of_bitsandbytes:
        # transformers leaves weights beside quantised ones in the data type in which they are stored. Some
        # architectures keep some in float32.
        kept = tuple(model._get_dtype_plan(dtype))  # noqa: SLF001 - transformers offers no other way to ask
        for name, weight in model.named_parameters():
            # Quantised weights are of other classes; their bits may be stored as numbers of any type.
            if type(weight) is nn.Parameter and weight.is_floating_point() and not any(part in name for part in kept):
                weight.data = weight.data.to(dtype)
        model.config.dtype = dtype
    four_bits = []
    for module in model.modules():
        if hasattr(module, COMPUTE_DTYPE):
            four_bits.append(module)
            setattr(module, COMPUTE_DTYPE, dtype)
            module.support_avx512bf16_for_cpu = False
            module.weight.quant_state.dtype = dtype
        elif type(module).__name__ == "Linear8bitLt":
            from kdprobe.models.forward.eight_bits import compute_exactly

            compute_exactly(module)
    if four_bits:
        from kdprobe.models.forward.four_bits import refuse_misread

        refuse_misread(four_bits, record.name)


def _refuse_unquantised(record: ModelRecord, model: Any) -> None:
    """Checks that weights were quantised: transformers leaves those alone that are not in linear layers."""
    module: Any
    whole, packed = 0, 0
    for module in chain.from_iterable(layer.modules() for layer in decoder_layers(model) or [model]):
        for weight in module.parameters(recurse=False):
            if not weight.is_floating_point():
                packed += module.in_features * module.out_features
            elif weight.dim() >= _MATRIX:
                whole += weight.numel()
    share = packed / max(packed + whole, 1)
    if share < _LEAST:
        raise KdprobeError(
            f"Only {share:.0%} of the weights in the layers of {record.name!r} can be quantised on load: bitsandbytes "
            "quantises linear layers only.",
            "Use weights that are quantised already, or another model.",
        )
