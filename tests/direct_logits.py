"""What heads write into the logits of the next tokens, from explicit formulas for each architecture, in float64."""

from __future__ import annotations

from typing import Any

_BEHIND = {
    "gemma2": "post_attention_layernorm",
    "gemma3_text": "post_attention_layernorm",
    "glm4": "post_self_attn_layernorm",
    "olmo2": "post_attention_layernorm",
}
"""The norm after attention."""
_LAYER_NORMS = {"cohere", "falcon", "gpt2", "gpt_neox", "opt", "stablelm", "starcoder2"}


def head_logits(model: Any, ids: list[int], rows: list[int]) -> tuple[Any, Any]:
    """Of every head `[layer, row, head]`, and of the output projections' biases `[layer, row]`.

    Args:
        model: Any of the tests' architectures; it is turned into float64.
        ids: What it reads.
        rows: At which positions; the logit is that of the token that follows.
    """
    import torch

    model = model.double().eval()
    if hasattr(model, "set_experts_implementation"):
        model.set_experts_implementation("eager")
    kind, config = model.config.model_type, model.config
    decoder = getattr(model, model.base_model_prefix)
    decoder = getattr(decoder, "decoder", decoder)
    layers = getattr(decoder, "layers", None) or decoder.h
    final = next(getattr(decoder, name) for name in ("norm", "ln_f", "final_layer_norm") if hasattr(decoder, name))
    outputs = [_named(layer, ("self_attn.o_proj", "self_attn.out_proj", "attn.c_proj", "dense")) for layer in layers]
    read: dict[int, Any] = {}

    def listen(module):
        module.register_forward_pre_hook(lambda module, given: read.update({id(module): given[0][0][rows]}))

    behind = [getattr(layer, _BEHIND[kind]) if kind in _BEHIND else None for layer in layers]
    for module in [final, *outputs, *(norm for norm in behind if norm is not None)]:
        listen(module)
    with torch.no_grad():
        model(input_ids=torch.tensor([ids]), use_cache=False)

    def passed(norm, parts):
        """Parts of what a norm read, `[..., row, d_model]`, with its scale held."""
        stream = read[id(norm)]
        weight = 1 + norm.weight if kind.startswith("gemma") else norm.weight
        epsilon = getattr(norm, "eps", None) or norm.variance_epsilon
        if kind in _LAYER_NORMS:
            parts = parts - parts.mean(dim=-1, keepdim=True)
            return parts * weight / (stream.var(dim=-1, keepdim=True, correction=0) + epsilon).sqrt()
        return parts * weight / (stream.square().mean(dim=-1, keepdim=True) + epsilon).sqrt()

    matrix = model.get_output_embeddings().weight
    matrix = matrix * getattr(config, "logit_scale", 1.0) / getattr(config, "logits_scaling", 1.0)
    direction = (matrix - matrix.mean(dim=0))[[ids[row + 1] for row in rows]]
    heads, biases = [], []
    for output, norm in zip(outputs, behind, strict=True):
        weight = output.weight.T if isinstance(output, torch.nn.Linear) else output.weight
        z = read[id(output)].unflatten(-1, (config.num_attention_heads, -1))
        written = torch.einsum("rhi,hid->hrd", z, weight.unflatten(0, (config.num_attention_heads, -1)))
        bias = torch.zeros_like(written[:1]) if output.bias is None else output.bias.expand_as(written[:1])
        parts = torch.cat([written, bias])
        parts = passed(norm, parts) if norm is not None else parts * getattr(config, "residual_multiplier", 1.0)
        logits = (passed(final, parts) * direction).sum(dim=-1)
        heads.append(logits[:-1].T)
        biases.append(logits[-1])
    return torch.stack(heads).detach().numpy(), torch.stack(biases).detach().numpy()


def _named(layer: Any, ends: tuple[str, ...]) -> Any:
    return next(module for name, module in layer.named_modules() if name.endswith(ends) and "mlp" not in name)
