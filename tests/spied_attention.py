"""What attention does to the residual stream, found by running a model's own code on unit vectors."""

from __future__ import annotations

import copy
from contextlib import ExitStack
from typing import Any


def attention_weights(model: Any) -> list[dict[str, Any]]:
    """The linear maps of queries, keys, values and outputs of every query head, `[head, dim, d_model]`, float64.

    Biases are set to zero, norms on queries and keys are taken out. Every unit vector is a sequence of one token, which
    rotary embeddings leave as it is. Values have the width of the model, over all heads.
    """
    import torch
    from torch import nn

    model = copy.deepcopy(model).double().eval()
    # Where transformers refuses sdpa, it works all the same, without what is not linear.
    model.config._attn_implementation = "sdpa"
    if hasattr(model, "set_experts_implementation"):
        model.set_experts_implementation("eager")  # the others have no float64
    attentions = [module for module in model.modules() if type(module).__name__.endswith("Attention")]
    for attention in attentions:
        if hasattr(attention, "attn_logit_softcapping"):
            attention.attn_logit_softcapping = None
        for name, module in list(attention.named_modules()):
            for bias in (bias for path, bias in module.named_parameters(recurse=False) if path == "bias"):
                nn.init.zeros_(bias)
            if name in {"q_norm", "k_norm", "q_layernorm", "k_layernorm"}:
                setattr(attention, name, nn.Identity())
    width, heads = model.config.hidden_size, model.config.num_attention_heads
    unit = torch.eye(width, dtype=torch.float64)
    seen: list[dict[str, Any]] = []

    def enter(_module, positional, keyword):
        if positional:
            return (unit[:, None], *positional[1:]), keyword
        return positional, {**keyword, "hidden_states": unit[:, None]}

    def attend(query, key, value, *_arguments, **_known):
        parts = {"q": query, "k": key, "v": value}
        seen.append(
            {
                name: part[:, :, 0].permute(1, 2, 0).repeat_interleave(heads // part.shape[1], dim=0)
                for name, part in parts.items()
            }
        )
        return unit.view(width, heads, 1, -1)

    def leave(_module, _positional, output):
        seen[-1]["o"] = (output[0] if isinstance(output, tuple) else output)[:, 0].view(heads, -1, width)

    with ExitStack() as stack:
        for attention in attentions:
            stack.callback(attention.register_forward_pre_hook(enter, with_kwargs=True).remove)
            stack.callback(attention.register_forward_hook(leave).remove)
        original = nn.functional.scaled_dot_product_attention
        stack.callback(setattr, nn.functional, "scaled_dot_product_attention", original)
        nn.functional.scaled_dot_product_attention = attend
        with torch.no_grad():
            model(input_ids=torch.zeros(width, 1, dtype=torch.long), use_cache=False)
    return seen


def relative_changes(before: Any, after: Any) -> dict[str, Any]:
    """Relative changes of both circuits of every head, `[layer * head]`, expanded so that nothing cancels."""
    import torch

    found: dict[str, list[float]] = {"qk": [], "ov": []}
    for old, new in zip(attention_weights(before), attention_weights(after), strict=True):
        for circuit, (left, right) in {"qk": "qk", "ov": "ov"}.items():
            d_left, d_right = new[left] - old[left], new[right] - old[right]
            change = torch.linalg.norm(d_left.mT @ new[right] + old[left].mT @ d_right, dim=(1, 2))
            found[circuit] += (change / torch.linalg.norm(old[left].mT @ old[right], dim=(1, 2))).tolist()
    return found
