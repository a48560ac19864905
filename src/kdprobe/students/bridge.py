"""Handing a student over to TransformerLens, checked: what is measured there is what the model does.

Booting rewires the model's attention modules, so the Hugging Face side of the check runs first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kdprobe.errors import KdprobeError
from kdprobe.models.batching import right_padded
from kdprobe.models.load import LoadedModel, quiet
from kdprobe.students.student import Student

TOLERANCE = 1e-4
"""Largest difference allowed between TransformerLens and Hugging Face; patterns agreed to 0 where it was tried."""


@dataclass(frozen=True)
class BridgedStudent:
    """A student inside TransformerLens.

    Attributes:
        name: The student's.
        bridge: A `TransformerBridge` over the model, float32, eager attention.
        tokenizer: The student's tokenizer.
        logit_error: Largest difference of logits from Hugging Face's in the self-check.
        pattern_error: Largest difference of attention patterns.
    """

    name: str
    bridge: Any
    tokenizer: Any
    logit_error: float
    pattern_error: float


@dataclass(frozen=True)
class Reference:
    """What Hugging Face makes of a padded batch.

    Attributes:
        ids: Token ids, `[batch, position]`, padded on the right.
        mask: 1 for real tokens, of the same shape.
        logits: `[real tokens, V]`.
        patterns: Per layer, the rows of real queries, `[real tokens, head, key]`.
    """

    ids: Tensor
    mask: Tensor
    logits: Tensor
    patterns: tuple[Tensor, ...]


def boot(student: Student, check: Sequence[Sequence[int]]) -> BridgedStudent:
    """Loads a merged student into TransformerLens and compares it with Hugging Face.

    Args:
        student: Who.
        check: A few token id sequences of different lengths to compare on; padding is part of the check.

    Raises:
        KdprobeError: Logits or patterns differ by more than `TOLERANCE`: nothing measured would be true.
    """
    loaded = student.load(dtype="float32", attention="eager")
    reference = hugging_face(loaded, check)
    bridge = bridge_over(loaded)
    return checked(student.name, bridge, loaded.tokenizer, reference)


def hugging_face(loaded: LoadedModel, check: Sequence[Sequence[int]]) -> Reference:
    """What the model says before it is inside TransformerLens."""
    ids, mask = right_padded(check, loaded.tokenizer.pad_token_id, loaded.device)
    with torch.inference_mode():
        theirs = loaded.model(input_ids=ids, attention_mask=mask, output_attentions=True, use_cache=False)
    real = mask.bool()
    return Reference(ids, mask, theirs.logits[real], tuple(_rows(pattern, real) for pattern in theirs.attentions))


def bridge_over(loaded: LoadedModel) -> Any:
    """A `TransformerBridge` over a model, whose attention modules it rewires."""
    from transformer_lens.model_bridge import TransformerBridge

    with quiet():
        return TransformerBridge.boot_transformers(
            str(loaded.model.config.name_or_path or loaded.record.name),
            hf_model=loaded.model,
            tokenizer=loaded.tokenizer,
            device=str(loaded.device),
        )


def checked(name: str, bridge: Any, tokenizer: Any, reference: Reference) -> BridgedStudent:
    """A bridged student, if it says what Hugging Face said; errors as `boot`."""
    patterns: dict[int, Tensor] = {}
    real = reference.mask.bool()

    def keep(pattern: Tensor, hook: Any) -> None:
        patterns[hook.layer()] = _rows(pattern, real)

    hooks = [(pattern_hook(layer), keep) for layer in range(bridge.cfg.n_layers)]
    with torch.inference_mode():
        logits = bridge.run_with_hooks(
            reference.ids, attention_mask=reference.mask, fwd_hooks=hooks, return_type="logits"
        )
    logit_error = float((logits[real] - reference.logits).abs().max())
    pattern_error = max(
        float((patterns[layer] - theirs).abs().max()) for layer, theirs in enumerate(reference.patterns)
    )
    if not max(logit_error, pattern_error) <= TOLERANCE:
        raise KdprobeError(
            f"TransformerLens and Hugging Face disagree on {name!r}: logits by {logit_error:.2g}, "
            f"patterns by {pattern_error:.2g} (at most {TOLERANCE:g} is allowed).",
            "Nothing is reported about its heads; TransformerLens may not support this architecture exactly.",
        )
    return BridgedStudent(name, bridge, tokenizer, logit_error, pattern_error)


def pattern_hook(layer: int) -> str:
    """The name of a layer's attention pattern, `[batch, head, query, key]`."""
    return f"blocks.{layer}.attn.hook_pattern"


def _rows(pattern: Tensor, real: Tensor) -> Tensor:
    """The rows of real queries, `[real tokens, head, key]`."""
    return pattern.transpose(1, 2)[real]
