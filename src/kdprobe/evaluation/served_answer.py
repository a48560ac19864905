"""Checks a server's replies before lm-eval reads them.

lm-eval reads a reply that it cannot parse as an empty answer, which would count as wrong, and a reply with several
choices as answers to several questions.
"""

from __future__ import annotations

from typing import Any

from kdprobe.errors import KdprobeError
from kdprobe.models.thinking import marked, served_thinking

_HINT = "The answers so far are saved. Check --model-args and the server, then rerun the command to resume."


def with_thinking(reply: Any) -> dict[str, Any]:
    """A chat completion whose text begins with the thinking that the server sent, between marks.

    Args:
        reply: The server's reply to one question.

    Raises:
        KdprobeError: It is not a chat completion with one choice.
    """
    choices = reply.get("choices") if isinstance(reply, dict) else None
    if not isinstance(choices, list) or len(choices) != 1 or not isinstance(choices[0], dict):
        raise KdprobeError("The server's reply is not a chat completion with one choice.", _HINT)
    message = choices[0].get("message")
    if message is None and choices[0].get("finish_reason") == "content_filter":
        message = {}
    if not isinstance(message, dict) or not isinstance(content := message.get("content"), str | None):
        raise KdprobeError("The server's reply has no message whose content is text.", _HINT)
    text = marked(served_thinking(message), content or "") or None
    return {**reply, "choices": [{**choices[0], "index": 0, "message": {**message, "content": text}}]}


def refuse_other_than_texts(reply: Any) -> None:
    """Checks that a reply contains the text of each completion exactly once.

    Args:
        reply: The server's reply to one or several prompts.

    Raises:
        KdprobeError: It does not.
    """
    choices = reply.get("choices") if isinstance(reply, dict) else None
    listed = choices if isinstance(choices, list) else []
    texts = [choice for choice in listed if isinstance(choice, dict) and isinstance(choice.get("text"), str)]
    indices = [choice.get("index") for choice in texts]
    if not listed or any(index not in indices for index in range(len(listed))):
        raise KdprobeError("In the server's reply, at least one completion is missing or appears twice.", _HINT)
