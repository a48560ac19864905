"""Which texts do not fit into a model's context, without tokenising those that are short anyway."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kdprobe.models.conversation import text_ids

_EXPANSION = 12
"""Bytes that a normaliser makes of one at most: NFKC spells a ligature of three bytes out in 33."""
_SPECIAL = 16
"""More tokens than a tokenizer adds by itself."""
_SHOWN = 3


def too_long(tokenizer: Any, texts: Mapping[str, str], room: int) -> dict[str, int]:
    """Of some prompts, those that take more tokens than there is room for, with their length in tokens.

    Args:
        tokenizer: Of the model that reads them.
        texts: Name to text.
        room: Tokens.
    """
    # A token stands for a byte at least.
    in_doubt = {
        name: text
        for name, text in texts.items()
        if len(text.encode()) * (1 if text.isascii() else _EXPANSION) + _SPECIAL > room
    }
    lengths = {name: len(text_ids(tokenizer, text)) for name, text in in_doubt.items()}
    return {name: length for name, length in lengths.items() if length > room}


def named(lengths: Mapping[str, int]) -> str:
    """The longest of some texts by name, and how many more there are."""
    longest = sorted(lengths, key=lambda name: (-lengths[name], name))
    shown = ", ".join(f"{name} ({lengths[name]} tokens)" for name in longest[:_SHOWN])
    return shown + (f" and {len(longest) - _SHOWN} more" if len(longest) > _SHOWN else "")
