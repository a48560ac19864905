"""The adapter that is trained: its configuration, and how far it moves the weights."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from peft import LoraConfig
from peft.utils.integrations import dequantize_module_weight
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from kdprobe.distill.options import LoraOptions
from kdprobe.distill.targets import with_targets

MAGNITUDE = "lora_magnitude_vector"
"""What peft calls DoRA's trained lengths of the weights' rows."""


def lora_config(options: LoraOptions, model: Any) -> LoraConfig:
    """The options as peft takes them.

    Args:
        options: The options.
        model: The student, whose attention `"attention"` stands for.

    Raises:
        UsageError: The student's attention is not where it is looked for.
    """
    options = with_targets(options, model)
    return LoraConfig(
        r=options.rank,
        lora_alpha=options.alpha,
        lora_dropout=options.dropout,
        target_modules=options.target_modules,
        use_rslora=options.rslora,
        use_dora=options.dora,
        task_type="CAUSAL_LM",
    )


def own_weight(module: Any) -> Tensor:
    """A projection's own weight without any adapter, `[out, in]`."""
    base = module.get_base_layer() if hasattr(module, "get_base_layer") else module
    weight: Tensor = dequantize_module_weight(base).detach()
    # GPT-2's projections keep `[in, out]`, and so do embeddings, whose tokens are what comes in.
    return weight.T if isinstance(base, Conv1D | nn.Embedding) else weight


def adapter_norm(model: Any) -> float:
    """Frobenius norm of the change that a peft model's adapter makes to the weights, all of them together.

    Without DoRA that is the norm of the scaled B A, which needs no full matrix; with it, whole matrices are made, one
    layer at a time.
    """
    total = 0.0
    for module in model.modules():
        for name, first, second in _factors(module):
            a, b = first.detach().double(), second.detach().double()
            magnitudes = getattr(module, MAGNITUDE, {})
            if name in magnitudes:
                weight = own_weight(module).double()
                total += _dora_change(weight, module.scaling[name] * b @ a, magnitudes[name].weight.detach().double())
            else:
                # ||BA||^2 = tr(B^T B A A^T): two rank x rank products, never the full matrix.
                total += float(torch.trace(b.T @ b @ (a @ a.T))) * module.scaling[name] ** 2
    return math.sqrt(max(total, 0.0))


def _factors(module: Any) -> Iterator[tuple[str, Tensor, Tensor]]:
    """An adapter's name, A `[rank, in]` and B `[out, rank]`, of each that a module has."""
    for name, first in (getattr(module, "lora_A", None) or {}).items():
        yield name, first.weight, module.lora_B[name].weight
    for name, first in (getattr(module, "lora_embedding_A", None) or {}).items():
        yield name, first, module.lora_embedding_B[name]


def base_norm(model: Any) -> float:
    """Frobenius norm of the base weights that a peft model's adapter applies to, all of them together."""
    layers = [module for module in model.modules() if next(_factors(module), None)]
    squares = [own_weight(layer).float().square().sum() for layer in layers]
    return math.sqrt(sum(float(square) for square in squares))


def _dora_change(weight: Tensor, update: Tensor, magnitude: Tensor) -> float:
    """Squared norm of m (W + BA) / ||W + BA|| - W, rows normalised (Liu et al., 2024, arXiv 2402.09353, eq. 5)."""
    turned = weight + update
    merged = turned * (magnitude / torch.linalg.vector_norm(turned, dim=1))[:, None]
    return float((merged - weight).square().sum())
