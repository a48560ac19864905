"""Which modules of a student get an adapter."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from kdprobe.distill.options import ATTENTION, LoraOptions
from kdprobe.errors import UsageError


def lora_with_target_names(lora: LoraOptions, model: Any) -> LoraOptions:
    """The same options with `"attention"` replaced by module names.

    Args:
        lora: The options.
        model: The student, or its modules without weights.

    Raises:
        UsageError: The student's attention projections are not found.
    """
    from kdprobe.models.outline.attention_projections import attention_projections

    if lora.target_modules != ATTENTION:
        return lora
    if names := attention_projections(model):
        return lora.model_copy(update={"target_modules": names})
    kind = model.config.get_text_config().model_type
    raise UsageError(
        f"kdprobe cannot find the attention projections of the student ({kind}).",
        'List the modules in lora.target_modules, or set it to "all-linear".',
    )


def with_target_names(options: Any, model: Any) -> Any:
    """A distiller's options with `"attention"` replaced by module names, if it uses kdprobe's LoRA options.

    Raises like `lora_with_target_names`.
    """
    lora = getattr(options, "lora", None)
    if not isinstance(lora, LoraOptions):
        return options
    return options.model_copy(update={"lora": lora_with_target_names(lora, model)})


def targets_text(targets: Sequence[str] | str) -> str:
    """Target modules as text, such as `q_proj, k_proj`; names that differ only by the layer are merged."""
    names = [targets] if isinstance(targets, str) else [re.sub(r"\b\d+\b", "*", name) for name in targets]
    return ", ".join(dict.fromkeys(names))


def adapters_sentence(distiller: str, modules: str) -> str:
    """Describes the modules that a distiller trains adapters on."""
    return f"The distiller {distiller!r} trains adapters on {modules}."
