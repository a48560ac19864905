"""Writes the two small models of `rehearsal.toml`: a teacher and a student of the Llama architecture, untrained.

    python examples/rehearsal_models.py [FOLDER]

Their tokenizer is the one beside the shapes of `llama-405b.toml`. What they write is noise, but all that handles it is
what handles the answers of Llama 3.1: the rehearsal shows that the parts fit together and what they take, not what
priming does.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

SHAPES = Path(__file__).parent / "llama-405b" / "llama-3.1-8b"
SIZES = {"teacher": (256, 4, 8, 2), "student": (128, 2, 4, 2)}
"""Width, layers, heads, and key-value heads. vLLM takes heads of 32 dimensions or more."""


def main() -> None:
    """Writes both models below a folder."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "rehearsal")
    tokenizer = AutoTokenizer.from_pretrained(SHAPES)
    for seed, (name, (width, layers, heads, key_value_heads)) in enumerate(SIZES.items()):
        torch.manual_seed(seed)
        config = LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=width,
            intermediate_size=3 * width,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            num_key_value_heads=key_value_heads,
            max_position_embeddings=2048,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
        LlamaForCausalLM(config).save_pretrained(folder / name)
        for file in SHAPES.glob("tokenizer*.json"):
            shutil.copy(file, folder / name)


if __name__ == "__main__":
    main()
