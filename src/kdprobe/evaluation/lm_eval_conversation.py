"""Telling one of lm-eval's models how to converse, as far as its class lets it.

Classes that render prompts in this process do so by a tokenizer, which is bound to the conversation. Chat servers
render for themselves: they are sent a system message and the template's arguments, and have a clock of their own.
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
    """What lm-eval is given so that a model is told.

    Attributes:
        system: lm-eval's `system_instruction`.
        generation_arguments: Further fields of a request.
    """

    system: str | None = None
    generation_arguments: dict[str, Any] = field(default_factory=dict)


NOTHING_TOLD = Told()


def tell(model: Any, model_type: str, conversation: Conversation) -> Told:
    """Tells a model that is asked with its chat template.

    Args:
        model: One of lm-eval's.
        model_type: What lm-eval calls its class.
        conversation: What it is told.

    Raises:
        KdprobeError: As `bind` and `refuse_unread` raise.
        UsageError: Its class takes no date or no template arguments.
    """
    if _renders_here(model):
        refuse_unread(conversation, [model.tokenizer])
        bind(model.tokenizer, conversation)
        return NOTHING_TOLD
    if conversation.date != DEFAULT_DATE:
        raise UsageError(
            f"The model type {model_type!r} takes no date: its server renders the prompts, by its own clock.",
            "Leave out --date, or give the date by a --template-argument where the template takes one.",
        )
    arguments = dict(conversation.template_arguments)
    if arguments and not isinstance(model, LocalChatCompletion):
        raise UsageError(
            f"lm-eval's model type {model_type!r} takes no template arguments.",
            "Leave out --template-argument, or use local-chat-completions.",
        )
    return Told(conversation.system, {"chat_template_kwargs": arguments} if arguments else {})


def _renders_here(model: Any) -> bool:
    if isinstance(model, TemplateAPI):
        return model.tokenizer_backend == "huggingface" and bool(model.tokenized_requests)
    return hasattr(getattr(model, "tokenizer", None), "apply_chat_template")
