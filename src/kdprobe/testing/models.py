"""Random models and adapters, tiny by default; torch is imported only when one is made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kdprobe.testing.word_problems import problem_rows

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


TINY_LLAMA: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    # Large weights, so that heads differ from uniform attention and tokens from a uniform guess.
    "initializer_range": 0.3,
    "bos_token_id": None,
}
"""Arguments of `LlamaConfig`, except those that the tokenizer decides."""


def random_llama(*, seed: int = 0, dtype: str = "float32", **config: Any) -> Any:
    """Returns a Llama with random weights, in memory.

    Args:
        seed: Seed of the weights.
        dtype: Data type of the weights.
        config: Arguments of `LlamaConfig`, such as `TINY_LLAMA`.
    """
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig

    torch.manual_seed(seed)
    return AutoModelForCausalLM.from_config(LlamaConfig(**config), dtype=getattr(torch, dtype))


def write_tiny_model(folder: Path) -> Path:
    """Writes a random Llama (2 layers, 4 heads, 2 key-value heads) with its tokenizer, the same every time."""
    tokenizer = _tokenizer()
    random_llama(
        **TINY_LLAMA,
        vocab_size=len(tokenizer),
        max_position_embeddings=2048,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    ).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def write_random_adapter(model: Path, folder: Path, *, seed: int = 0, size: float = 0.2, **config: Any) -> Path:
    """Writes a LoRA adapter as if trained: every weight that training would change is changed at random.

    Args:
        model: Folder of the base model.
        folder: Where the adapter is written.
        seed: Seed of the weights.
        size: Standard deviation of each change; with 0, the student equals its base.
        config: Arguments of peft's `LoraConfig`; by default, rank 2 on the attention projections.
    """
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    projections = ["q_proj", "k_proj", "v_proj", "o_proj"]
    lora = LoraConfig(**{"r": 2, "target_modules": projections, "task_type": "CAUSAL_LM", **config})
    student = get_peft_model(AutoModelForCausalLM.from_pretrained(model), lora)
    with torch.no_grad():
        for weight in student.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn_like(weight), alpha=size)
    student.save_pretrained(folder)
    return folder


def _tokenizer() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    base = Tokenizer(models.BPE())
    base.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    base.decoder = decoders.ByteLevel()
    corpus = [text for row in problem_rows(0, 30) for text in row.values()] + ["user assistant system step clear words"]
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|im_start|>", "<|im_end|>", "<pad>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    base.train_from_iterator(corpus, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=base, eos_token="<|im_end|>", pad_token="<pad>")  # noqa: S106
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer
