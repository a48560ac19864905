"""Gradient checkpointing (Chen et al., 2016, arXiv 1604.06174): less memory for a second forward pass."""

from __future__ import annotations

from kdprobe.errors import UsageError
from kdprobe.models.load import LoadedModel


def recompute_layers(student: LoadedModel) -> None:
    """Makes a model keep only the inputs of its layers in training, and compute the rest again in the backward pass.

    Random states are restored before a layer runs again, so that dropout drops the same.

    Raises:
        UsageError: transformers does not implement this for the architecture.
    """
    model = student.model
    if not model.supports_gradient_checkpointing:
        raise not_recomputable(student.record.name, model.config.model_type)
    # Named gradient_checkpointing_enable in older versions of transformers, and deprecated under that name in newer.
    enable = getattr(model, "activation_checkpointing_enable", model.gradient_checkpointing_enable)
    # The reentrant implementation needs inputs with gradients, but the embeddings are frozen.
    enable({"use_reentrant": False})


def not_recomputable(name: str, kind: str) -> UsageError:
    """The error for a student whose layers cannot run again in the backward pass.

    Args:
        name: The student.
        kind: Its architecture.
    """
    return UsageError(
        f"gradient_checkpointing: transformers does not implement it for the student {name!r} ({kind}).",
        "Remove the option; to save memory, lower batch_size and raise accumulation.",
    )
