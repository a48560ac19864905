"""Distillation: the interface of distillers, and helpers for LoRA adapters."""

from typing import TYPE_CHECKING

from kdprobe.distill.distiller import AdaptiveDistiller, Distiller, Need, SelectiveDistiller, TrainContext, Trained
from kdprobe.distill.options import LoraOptions
from kdprobe.lazy import lazy_exports

if TYPE_CHECKING:
    from kdprobe.distill.adapter import adapter_norm, base_norm, lora_config
    from kdprobe.distill.alignment import Alignment
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "kdprobe.distill.adapter": ["adapter_norm", "base_norm", "lora_config"],
            "kdprobe.distill.alignment": ["Alignment"],
        },
    )

__all__ = [
    "AdaptiveDistiller",
    "Alignment",
    "Distiller",
    "LoraOptions",
    "Need",
    "SelectiveDistiller",
    "TrainContext",
    "Trained",
    "adapter_norm",
    "base_norm",
    "lora_config",
]
