"""Applies conversation settings to one of lm-eval's models, insofar as its class allows.

Classes that render prompts in this process use a tokenizer, which is bound to the conversation. Chat servers render
prompts themselves: they receive a system message and the template's arguments, and use their own clock.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from lm_eval.models.api_models import TemplateAPI
from lm_eval.models.openai_completions import LocalChatCompletion

from kdprobe.errors import UsageError
from kdprobe.models.conversation import DEFAULT_DATE, Conversation, bind, refuse_unread


@dataclass(frozen=True)
class Told:
    """Arguments for lm-eval that pass the settings on to a server.

    Attributes:
        system: lm-eval's `system_instruction`.
        generation_arguments: Additional fields of a request.
    """

    system: str | None = None
    generation_arguments: dict[str, Any] = field(default_factory=dict)


NOTHING_TOLD = Told()


def tell(model: Any, model_type: str, conversation: Conversation) -> Told:
    """Applies the settings to a model that uses its chat template.

    Args:
        model: One of lm-eval's models.
        model_type: lm-eval's name for its class.
        conversation: The settings.

    Raises:
        KdprobeError: See `bind` and `refuse_unread`.
        UsageError: Its class accepts no date or no template arguments.
    """
    if _renders_here(model):
        refuse_unread(conversation, [model.tokenizer])
        bind(model.tokenizer, conversation)
        return NOTHING_TOLD
    if conversation.date != DEFAULT_DATE:
        raise UsageError(
            f"The model type {model_type!r} does not accept a date: the server renders the prompts and inserts its own "
            "current date.",
            "Omit --date or, if the template takes the date as an argument, pass it with --template-argument.",
        )
    arguments = dict(conversation.template_arguments)
    if arguments and not isinstance(model, LocalChatCompletion):
        raise UsageError(
            f"lm-eval's model type {model_type!r} does not accept template arguments.",
            "Omit --template-argument, or use local-chat-completions.",
        )
    return Told(conversation.system, {"chat_template_kwargs": arguments} if arguments else {})


def _renders_here(model: Any) -> bool:
    if isinstance(model, TemplateAPI):
        return model.tokenizer_backend == "huggingface" and bool(model.tokenized_requests)
    return hasattr(getattr(model, "tokenizer", None), "apply_chat_template")
