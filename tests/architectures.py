"""Tiny random models of many architectures, with the tiny model's tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

WIDE = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
GROUPED = {**WIDE, "num_key_value_heads": 2}
EXPERTS = {"num_experts_per_tok": 2, "moe_intermediate_size": 24}

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "llama": GROUPED,
    "qwen2": GROUPED,
    "qwen3": {**GROUPED, "head_dim": 8},
    "gemma2": {**GROUPED, "head_dim": 8, "query_pre_attn_scalar": 8},
    "gemma3_text": {**GROUPED, "head_dim": 8, "query_pre_attn_scalar": 8},
    "mistral": {**GROUPED, "sliding_window": 64},
    "phi3": GROUPED,
    "gpt_neox": WIDE,
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 512},
    "olmo2": GROUPED,
    "falcon": {**WIDE, "multi_query": True, "new_decoder_architecture": False},
    "starcoder2": GROUPED,
    "stablelm": GROUPED,
    "granite": {**GROUPED, "residual_multiplier": 0.5, "logits_scaling": 2.0, "embedding_multiplier": 3.0},
    "cohere": GROUPED,
    "mixtral": {**GROUPED, "num_local_experts": 4, "num_experts_per_tok": 2},
    "qwen3_moe": {**GROUPED, **EXPERTS, "head_dim": 8, "num_experts": 4},
    "deepseek_v3": {
        **WIDE,
        **EXPERTS,
        "num_key_value_heads": 4,
        "q_lora_rank": 12,
        "kv_lora_rank": 12,
        "qk_rope_head_dim": 4,
        "qk_nope_head_dim": 8,
        "v_head_dim": 8,
        "n_routed_experts": 4,
        "n_group": 2,
        "topk_group": 1,
        "first_k_dense_replace": 1,
    },
    "gpt_oss": {**GROUPED, "head_dim": 8, "num_local_experts": 4, "num_experts_per_tok": 2},
    "glm4": {**GROUPED, "head_dim": 8},
    "opt": {**{k: v for k, v in WIDE.items() if k != "intermediate_size"}, "ffn_dim": 48, "word_embed_proj_dim": 32},
}
"""Architecture, as transformers calls it, to arguments of its configuration."""


def write_model(architecture: str, tokenizer: Any, folder: Path, **changed: Any) -> Path:
    """Writes a random model. Its norms scale and its biases are not zero, so that leaving one out changes results."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(
        architecture,
        vocab_size=len(tokenizer),
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        **{**ARCHITECTURES[architecture], **changed},
    )
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() > 1:
                weight.normal_(std=0.3)
            elif name.endswith("bias"):
                weight.normal_(std=0.2)
            elif "sinks" in name:
                weight.normal_()
            else:
                weight.add_(torch.randn_like(weight), alpha=0.2)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def attention_projections(architecture: str) -> list[str]:
    """The names of the projections of attention."""
    fused = {
        "phi3": ["qkv_proj", "o_proj"],
        "gpt2": ["c_attn", "attn.c_proj"],
        "gpt_neox": ["query_key_value", "dense"],
        "falcon": ["query_key_value", "dense"],
        "opt": ["q_proj", "k_proj", "v_proj", "out_proj"],
        "deepseek_v3": ["q_b_proj", "kv_b_proj", "o_proj"],
    }
    return fused.get(architecture, ["q_proj", "k_proj", "v_proj", "o_proj"])
