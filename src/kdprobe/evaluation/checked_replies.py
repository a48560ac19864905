"""Servers' replies, read with care."""

from __future__ import annotations

from typing import Any

from lm_eval.models.openai_completions import LocalChatCompletion, LocalCompletionsAPI

from kdprobe.evaluation.served_answer import refuse_other_than_texts, with_thinking


class CheckedReplies:
    """Mixin in front of one of lm-eval's model classes, for those that query a server."""

    def parse_generations(self, outputs: Any, **arguments: Any) -> list[str]:
        """As lm-eval's, but including thinking sent by chat servers, and without reading a malformed reply as empty.

        Raises:
            KdprobeError: A server's reply contains no completions.
        """
        parse = super().parse_generations  # type: ignore[misc]
        if isinstance(self, LocalChatCompletion):
            outputs = with_thinking(outputs)
        elif parse is LocalCompletionsAPI.parse_generations:
            refuse_other_than_texts(outputs)
        parsed: list[str] = parse(outputs, **arguments)
        return parsed
