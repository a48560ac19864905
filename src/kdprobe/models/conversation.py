"""Conversations as token ids, by one rule for training, teaching, testing and probing.

Chat models read their own template. Models without one read a plain question/answer form.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

PLAIN_FORM = "Question: {question}\nAnswer:"
"""How a model without a chat template is asked; the lm-eval task for completion models says the same."""


def prompt_text(tokenizer: Any, messages: Sequence[dict[str, str]]) -> str:
    """The conversation as the text that the model continues."""
    if tokenizer.chat_template:
        text: str = tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)
        return text
    return PLAIN_FORM.replace("{question}", "\n\n".join(message["content"] for message in messages))


def prompt_ids(tokenizer: Any, messages: Sequence[dict[str, str]]) -> list[int]:
    """The conversation as token ids, up to where the response begins."""
    # A chat template writes its own beginning-of-sequence token; adding another would double it.
    plain = not tokenizer.chat_template
    ids: list[int] = tokenizer(prompt_text(tokenizer, messages), add_special_tokens=plain)["input_ids"]
    return ids


def response_ids(tokenizer: Any, text: str) -> list[int]:
    """A written response as token ids, with its end of turn: what a student is taught to write and then stop."""
    lead = "" if tokenizer.chat_template else " "
    ids: list[int] = tokenizer(lead + text, add_special_tokens=False)["input_ids"]
    return [*ids, tokenizer.eos_token_id]


def template_digest(tokenizer: Any) -> str:
    """Digest of how conversations become text: the chat template, or the plain form."""
    form = tokenizer.chat_template or PLAIN_FORM
    return hashlib.sha256(str(form).encode()).hexdigest()[:16]


def tokenizer_digest(tokenizer: Any) -> str:
    """Digest of the vocabulary: equal digests mean that token ids mean the same."""
    pairs = sorted(tokenizer.get_vocab().items(), key=lambda pair: pair[1])
    return hashlib.sha256(repr(pairs).encode()).hexdigest()[:16]
