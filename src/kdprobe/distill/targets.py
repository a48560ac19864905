"""Which modules of a student get an adapter."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from kdprobe.distill.options import ATTENTION, LoraOptions
from kdprobe.errors import UsageError


def lora_with_target_names(lora: LoraOptions, model: Any) -> LoraOptions:
    """The same options with names in the place of `"attention"`.

    Args:
        lora: The options.
        model: The student, or its modules without weights.

    Raises:
        UsageError: The student's attention is not where it is looked for.
    """
    from kdprobe.models.outline.attention_projections import attention_projections

    if lora.target_modules != ATTENTION:
        return lora
    if names := attention_projections(model):
        return lora.model_copy(update={"target_modules": names})
    kind = model.config.get_text_config().model_type
    raise UsageError(
        f"The projections of attention that get an adapter are not where they are looked for in the student ({kind}).",
        'Name the modules in lora.target_modules, or set it to "all-linear".',
    )


def with_target_names(options: Any, model: Any) -> Any:
    """A distiller's options with names in the place of `"attention"`, where it takes kdprobe's options of LoRA.

    Errors as above.
    """
    lora = getattr(options, "lora", None)
    if not isinstance(lora, LoraOptions):
        return options
    return options.model_copy(update={"lora": lora_with_target_names(lora, model)})


def targets_text(targets: Sequence[str] | str) -> str:
    """Target modules for a person: `q_proj, k_proj`; names that differ by the number of a layer alone are one."""
    names = [targets] if isinstance(targets, str) else [re.sub(r"\b\d+\b", "*", name) for name in targets]
    return ", ".join(dict.fromkeys(names))


def adapters_sentence(distiller: str, modules: str) -> str:
    """What to say of the modules, in words, that a distiller trains adapters on."""
    return f"The distiller {distiller!r} trains adapters on {modules}."
