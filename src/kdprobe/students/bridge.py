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
from kdprobe.models.load import quiet
from kdprobe.students.student import Student

TOLERANCE = 1e-4
"""Largest difference allowed between TransformerLens and Hugging Face; patterns agreed to 0 where it was tried."""


@dataclass(frozen=True)
class BridgedStudent:
    """A student inside TransformerLens.

    Attributes:
        name: The student's.
        bridge: A `TransformerBridge` over the merged model, float32, eager attention.
        tokenizer: The student's tokenizer.
        logit_error: Largest difference of logits from Hugging Face's in the self-check.
        pattern_error: Largest difference of attention patterns.
    """

    name: str
    bridge: Any
    tokenizer: Any
    logit_error: float
    pattern_error: float


def boot(student: Student, check: Sequence[Sequence[int]]) -> BridgedStudent:
    """Loads a merged student into TransformerLens and compares it with Hugging Face.

    Args:
        student: Who.
        check: A few token id sequences of different lengths to compare on; padding is part of the check.

    Raises:
        KdprobeError: Logits or patterns differ by more than `TOLERANCE`: nothing measured would be true.
    """
    from transformer_lens.model_bridge import TransformerBridge

    loaded = student.load(dtype="float32", attention="eager")
    ids, mask = right_padded(check, loaded.tokenizer.pad_token_id, loaded.device)
    with torch.inference_mode():
        theirs = loaded.model(input_ids=ids, attention_mask=mask, output_attentions=True, use_cache=False)
    with quiet():
        bridge = TransformerBridge.boot_transformers(
            str(loaded.model.config.name_or_path or student.base.name),
            hf_model=loaded.model,
            tokenizer=loaded.tokenizer,
            device=str(loaded.device),
        )
    patterns: dict[int, Tensor] = {}

    def keep(pattern: Tensor, hook: Any) -> None:
        patterns[hook.layer()] = pattern

    hooks = [(pattern_hook(layer), keep) for layer in range(bridge.cfg.n_layers)]
    with torch.inference_mode():
        logits = bridge.run_with_hooks(ids, attention_mask=mask, fwd_hooks=hooks, return_type="logits")
    real = mask.bool()
    logit_error = float((logits - theirs.logits)[real].abs().max())
    pattern_error = max(
        float((patterns[layer] - theirs.attentions[layer]).transpose(1, 2)[real].abs().max())
        for layer in range(bridge.cfg.n_layers)
    )
    if not max(logit_error, pattern_error) <= TOLERANCE:
        raise KdprobeError(
            f"TransformerLens and Hugging Face disagree on {student.name!r}: logits by {logit_error:.2g}, "
            f"patterns by {pattern_error:.2g} (at most {TOLERANCE:g} is allowed).",
            "Nothing is reported about its heads; TransformerLens may not support this architecture exactly.",
        )
    return BridgedStudent(student.name, bridge, loaded.tokenizer, logit_error, pattern_error)


def pattern_hook(layer: int) -> str:
    """The name of a layer's attention pattern, `[batch, head, query, key]`."""
    return f"blocks.{layer}.attn.hook_pattern"
