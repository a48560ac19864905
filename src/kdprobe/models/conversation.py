"""Turns conversations into token ids, in the same way for training, teaching, testing and probing.

Chat models use their own template; models without one get a plain question/answer form. Everything a template uses
besides the messages (the date, its own arguments, a system message) is part of a `Conversation`, which is bound to the
tokenizer when it is loaded. So everyone who renders with it, lm-eval included, renders the same text on any day.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kdprobe.errors import KdprobeError, first_line
from kdprobe.models.templates.bounded import bounded
from kdprobe.models.templates.stopped_clock import stopped_clock
from kdprobe.words import enumerated

PLAIN_FORM = "Question: {question}\nAnswer:"
"""The prompt of a model without a chat template; the lm-eval task for completion models uses the same form."""
DEFAULT_DATE = dt.date(2024, 7, 26)
"""The date given to templates that use one, instead of the clock's. Llama 3.1's template names this day itself."""
OWN_ARGUMENTS = frozenset(
    {"conversation", "messages", "tools", "documents", "chat_template", "add_generation_prompt"}
    | {"continue_final_message", "tokenize", "padding", "truncation", "max_length", "return_tensors", "return_dict"}
    | {"return_assistant_tokens_mask", "tokenizer_kwargs"}
)
"""Parameters of `apply_chat_template` that do not reach the template by name and unchanged."""
_OTHER_MESSAGES = "Use a strategy or a task without such messages, or another model."

Messages = Sequence[dict[str, str]]


@dataclass(frozen=True)
class Conversation:
    """How messages become text, besides the model's own template.

    Attributes:
        system: The system message for conversations without one, or `None`.
        date: The date for templates that use one.
        template_arguments: Keyword arguments of the template, such as `enable_thinking`.
    """

    system: str | None = None
    date: dt.date = DEFAULT_DATE
    template_arguments: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def opened(self, messages: Messages) -> list[dict[str, str]]:
        """The messages, preceded by the system message if they have none."""
        if self.system is None or (messages and messages[0]["role"] == "system"):
            return list(messages)
        return [{"role": "system", "content": self.system}, *messages]

    @property
    def sentence(self) -> str:
        """A description for people; empty if nothing but the default date is set."""
        return "" if self == PLAIN_CONVERSATION else f"Chat template settings: {json.dumps(self.as_key())}."

    @property
    def instructs(self) -> bool:
        """Whether anything but the date is set, which only a chat template can use."""
        return self.system is not None or bool(self.template_arguments)

    def as_key(self) -> dict[str, Any]:
        """All settings, ready for JSON."""
        return {
            "system": self.system,
            "date": self.date.isoformat(),
            "template_arguments": dict(self.template_arguments),
        }


PLAIN_CONVERSATION = Conversation()
"""Only the template and the default date."""


def bind(tokenizer: Any, conversation: Conversation) -> Any:
    """Makes a tokenizer's `apply_chat_template` render according to the conversation, and returns the tokenizer.

    Raises:
        KdprobeError: The tokenizer has no chat template although the conversation has settings for one, or its template
            rejects or drops the system message, or is not a string.
    """
    if not tokenizer.chat_template:
        if conversation.instructs:
            raise KdprobeError(
                f"The model {tokenizer.name_or_path!r} has no chat template, so a system message or template arguments "
                "would have no effect.",
                "Remove them, or use a chat model.",
            )
        return tokenizer
    named = tokenizer.chat_template.values() if isinstance(tokenizer.chat_template, dict) else [tokenizer.chat_template]
    if not all(isinstance(template, str) for template in named):
        raise KdprobeError(
            f"The chat template of {tokenizer.name_or_path!r} is not a string.", "Download the model again."
        )
    tokenizer.apply_chat_template = _as_told(tokenizer.name_or_path, tokenizer.apply_chat_template, conversation)
    if conversation.system is not None:
        prompt_text(tokenizer, conversation.opened([{"role": "user", "content": "Hi"}]))
    return tokenizer


def refuse_unread(conversation: Conversation, tokenizers: Sequence[Any]) -> None:
    """Checks that the templates use the arguments, because templates ignore arguments they do not know.

    Args:
        conversation: The conversation with the arguments.
        tokenizers: The tokenizers whose chat templates may use them.

    Raises:
        KdprobeError: No template uses an argument of that name.
    """
    templates = "".join(str(tokenizer.chat_template) for tokenizer in tokenizers)
    for name in conversation.template_arguments:
        if not re.search(rf"\b{re.escape(name)}\b", templates):
            models = [*dict.fromkeys(repr(tokenizer.name_or_path) for tokenizer in tokenizers)]
            noun, do = ("template", "does") if len(models) == 1 else ("templates", "do")
            raise KdprobeError(
                f"The chat {noun} of {enumerated(models)} {do} not use the argument {name!r}.",
                "Check its name in the template; an unused argument would have no effect.",
            )


def _as_told(model: str, render: Callable[..., Any], told: Conversation) -> Callable[..., Any]:
    """The `apply_chat_template` of transformers, for a conversation or a batch, with the conversation's settings."""

    def apply_chat_template(conversation: Any, *arguments: Any, **named: Any) -> Any:
        is_batch = bool(conversation) and not isinstance(conversation[0], Mapping)
        opened = [told.opened(one) for one in conversation] if is_batch else told.opened(conversation)
        # Callers such as lm-eval's vLLM pass None for arguments they leave unset.
        said = {name: value for name, value in named.items() if value is not None}
        with stopped_clock(told.date), bounded(model):
            return render(opened, *arguments, **{**said, **told.template_arguments})

    return apply_chat_template


def prompt_text(tokenizer: Any, messages: Messages) -> str:
    """The conversation as the text that the model continues.

    Raises:
        KdprobeError: The chat template rejects the messages or drops one of them.
    """
    if tokenizer.chat_template:
        text = rendered(tokenizer, messages, add_generation_prompt=True)
        refuse_omissions(tokenizer, messages, text)
        return text
    return PLAIN_FORM.replace("{question}", "\n\n".join(message["content"] for message in messages))


def prompt_ids(tokenizer: Any, messages: Messages) -> list[int]:
    """The conversation as token ids, up to the start of the response; raises like `prompt_text`."""
    return text_ids(tokenizer, prompt_text(tokenizer, messages))


def text_ids(tokenizer: Any, text: str) -> list[int]:
    """The text of a conversation as token ids."""
    # A chat template writes its own beginning-of-sequence token; adding another would double it.
    plain = not tokenizer.chat_template
    ids: list[int] = tokenizer(text, add_special_tokens=plain)["input_ids"]
    return ids


def prompt_form(prompt: str, question: str) -> str:
    """A prompt with its question replaced by `{question}`; equal forms ask in the same way."""
    escaped = json.dumps(question)[1:-1]
    return prompt.replace(escaped, "{question}").replace(question, "{question}")


def texts_digest(texts: Iterable[str]) -> str:
    """Digest of rendered conversations, in order."""
    content = hashlib.sha256()
    for text in texts:
        content.update(text.encode() + b"\0")
    return content.hexdigest()


def template_digest(tokenizer: Any) -> str:
    """Digest of how conversations become text: the chat template, or the plain form."""
    form = tokenizer.chat_template or PLAIN_FORM
    return hashlib.sha256(str(form).encode()).hexdigest()[:16]


def tokenizer_digest(tokenizer: Any) -> str:
    """Digest of the vocabulary: equal digests mean that token ids have the same meaning."""
    pairs = sorted(tokenizer.get_vocab().items(), key=lambda pair: pair[1])
    return hashlib.sha256(repr(pairs).encode()).hexdigest()[:16]


def rendered(tokenizer: Any, messages: Messages, **arguments: Any) -> str:
    """Messages as rendered by the chat template.

    Raises:
        KdprobeError: The template rejects them.
    """
    try:
        text: str = tokenizer.apply_chat_template(list(messages), tokenize=False, **arguments)
    except KdprobeError:
        raise
    except Exception as error:
        # A template is a program, and may raise whatever Python's operators raise.
        roles = f"role{'' if len(messages) == 1 else 's'} {', '.join(message['role'] for message in messages)}"
        raise KdprobeError(
            f"The chat template of {tokenizer.name_or_path!r} rejects a conversation with the {roles}: "
            f"{first_line(error)}",
            _OTHER_MESSAGES,
        ) from error
    return text


def refuse_omissions(tokenizer: Any, messages: Messages, text: str) -> None:
    """Checks that a rendered conversation contains every message that was passed in.

    Raises:
        KdprobeError: The chat template drops or changes one.
    """
    for message in messages:
        if message["role"] != "assistant" and message["content"].strip() not in text:
            raise KdprobeError(
                f"The chat template of {tokenizer.name_or_path!r} drops or changes the {message['role']} message "
                f"{message['content'][:40]!r}.",
                _OTHER_MESSAGES,
            )
