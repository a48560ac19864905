"""Finds texts that do not fit into a model's context, without tokenising short ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kdprobe.models.conversation import text_ids

_EXPANSION = 12
"""The most bytes a normaliser makes of one: NFKC expands a three-byte ligature to 33 bytes."""
_SPECIAL = 16
"""More tokens than any tokenizer adds by itself."""
_SHOWN = 3


def too_long(tokenizer: Any, texts: Mapping[str, str], room: int) -> dict[str, int]:
    """The prompts that take more tokens than there is room for, with their length in tokens.

    Args:
        tokenizer: The tokenizer of the model that reads them.
        texts: Texts by name.
        room: The number of tokens available.
    """
    # A token stands for at least one byte.
    in_doubt = {
        name: text
        for name, text in texts.items()
        if len(text.encode()) * (1 if text.isascii() else _EXPANSION) + _SPECIAL > room
    }
    lengths = {name: len(text_ids(tokenizer, text)) for name, text in in_doubt.items()}
    return {name: length for name, length in lengths.items() if length > room}


def named(lengths: Mapping[str, int]) -> str:
    """Names the longest texts, and counts the rest."""
    longest = sorted(lengths, key=lambda name: (-lengths[name], name))
    shown = ", ".join(f"{name} ({lengths[name]} tokens)" for name in longest[:_SHOWN])
    return shown + (f" and {len(longest) - _SHOWN} more" if len(longest) > _SHOWN else "")
