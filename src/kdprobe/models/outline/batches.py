"""Many conversations and texts at once: the same results as one at a time, in a fraction of the time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from kdprobe.models.conversation import Messages, prompt_text, refuse_omissions

_SIZE = 256
"""Conversations that are rendered within the limits of one, and texts that are tokenised together."""
Item = TypeVar("Item")


def prompt_texts(tokenizer: Any, conversations: Sequence[Messages]) -> list[str]:
    """The conversations as `prompt_text` renders each of them; raises likewise."""
    return [text for batch in _batches(conversations) for text in _rendered(tokenizer, batch)]


def texts_ids(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """The texts of conversations as `text_ids` tokenises each of them."""
    plain = not tokenizer.chat_template
    return [ids for batch in _batches(texts) for ids in tokenizer(batch, add_special_tokens=plain)["input_ids"]]


def _rendered(tokenizer: Any, conversations: list[Messages]) -> list[str]:
    # transformers refuses an empty conversation only when it is passed alone, not in a batch.
    if not tokenizer.chat_template or not all(conversations):
        return [prompt_text(tokenizer, messages) for messages in conversations]
    try:
        texts: list[str] = tokenizer.apply_chat_template(
            [list(messages) for messages in conversations], tokenize=False, add_generation_prompt=True
        )
    except Exception:  # noqa: BLE001 - a template is a program, and may raise anything
        # One at a time, to say which one is refused, and because the limits are those of a single rendering.
        return [prompt_text(tokenizer, messages) for messages in conversations]
    for messages, text in zip(conversations, texts, strict=True):
        refuse_omissions(tokenizer, messages, text)
    return texts


def _batches(items: Sequence[Item]) -> Iterator[list[Item]]:
    return (list(items[start : start + _SIZE]) for start in range(0, len(items), _SIZE))
