"""The trained adapter: its configuration, and how far it moves the weights."""

from __future__ import annotations

import math
from typing import Any

import torch
from peft import LoraConfig

from kdprobe.distill.options import LoraOptions
from kdprobe.distill.targets import lora_with_target_names
from kdprobe.models.merging.lora import dora_change, factors, is_dora, own_weight
from kdprobe.models.outline.attention_projections import attention_projections


def lora_config(options: LoraOptions, model: Any) -> LoraConfig:
    """Converts the options to PEFT's.

    Args:
        options: The options.
        model: The student, used to resolve `"attention"`.

    Raises:
        UsageError: The student's attention projections are not found.
    """
    options = lora_with_target_names(options, attention_projections(model), model.config.get_text_config().model_type)
    return LoraConfig(
        r=options.rank,
        lora_alpha=options.alpha,
        lora_dropout=options.dropout,
        target_modules=options.target_modules,
        use_rslora=options.rslora,
        use_dora=options.dora,
        task_type="CAUSAL_LM",
    )


def adapter_norm(model: Any) -> float:
    """Frobenius norm of the change that a PEFT model's adapter makes to all weights together.

    Without DoRA this is the norm of the scaled B A, which needs no full matrix; with DoRA, full matrices are computed
    one layer at a time.
    """
    total = 0.0
    for module in model.modules():
        for name, first, second in factors(module):
            a, b, scale = first.double(), second.double(), module.scaling[name]
            if is_dora(module, name):
                total += float(dora_change(module, name, scale * b @ a).square().sum())
            else:
                # ||BA||^2 = tr(B^T B A A^T): two rank x rank products, never the full matrix.
                total += float(torch.trace(b.T @ b @ (a @ a.T))) * scale**2
    return math.sqrt(max(total, 0.0))


def base_norm(model: Any) -> float:
    """Frobenius norm of all base weights that a PEFT model's adapter applies to."""
    layers = [module for module in model.modules() if next(factors(module), None)]
    squares = [own_weight(layer).float().square().sum() for layer in layers]
    return math.sqrt(sum(float(square) for square in squares))
