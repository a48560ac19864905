"""Which modules of a student get an adapter."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from kdprobe.distill.options import ATTENTION, LoraOptions
from kdprobe.errors import UsageError


def lora_with_target_names(lora: LoraOptions, projections: Sequence[str], kind: str) -> LoraOptions:
    """The same options with `"attention"` replaced by module names.

    Args:
        lora: The options.
        projections: The student's attention projections.
        kind: Its architecture, for the error.

    Raises:
        UsageError: The student's attention projections were not found.
    """
    if lora.target_modules != ATTENTION:
        return lora
    if projections:
        return lora.model_copy(update={"target_modules": list(projections)})
    raise UsageError(
        f"kdprobe cannot find the attention projections of the student ({kind}).",
        'List the modules in lora.target_modules, or set it to "all-linear".',
    )


def with_target_names(options: Any, projections: Sequence[str], kind: str) -> Any:
    """A distiller's options with `"attention"` replaced by module names, if it uses kdprobe's LoRA options.

    Arguments and errors are those of `lora_with_target_names`.
    """
    lora = getattr(options, "lora", None)
    if not isinstance(lora, LoraOptions):
        return options
    return options.model_copy(update={"lora": lora_with_target_names(lora, projections, kind)})


def targets_text(targets: Sequence[str] | str) -> str:
    """Target modules as text, such as `q_proj, k_proj`; names that differ only by the layer are merged."""
    names = [targets] if isinstance(targets, str) else [re.sub(r"\b\d+\b", "*", name) for name in targets]
    return ", ".join(dict.fromkeys(names))


def adapters_sentence(distiller: str, modules: str) -> str:
    """Describes the modules that a distiller trains adapters on."""
    return f"The distiller {distiller!r} trains adapters on {modules}."
