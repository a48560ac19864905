"""What a server answered, checked: text, how it ended, and the log-probabilities as they were served."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kdprobe.teachers import safe_text
from kdprobe_openai.server import PassingFaultError


class UnusableError(Exception):
    """The log-probabilities cannot be used; the text says why, to follow "because"."""


@dataclass(frozen=True)
class Served:
    """A token as it was served.

    Attributes:
        text: The token's text, or `token_id:N`.
        id: Its id, where the server says it (llama.cpp's does).
        logprob: Natural logarithm of its probability.
    """

    text: str
    id: int | None
    logprob: float


@dataclass(frozen=True)
class Answer:
    """A completion.

    Attributes:
        text: The answer.
        finished: Whether the model ended it, or the token budget.
        tokens: How many tokens the server counted, or `None`.
        entries: Entries of its log-probabilities as they came, or `None`.
        prompt_ids: Token ids of the prompt as the server rendered it, where it says them, or `None`.
    """

    text: str
    finished: bool
    tokens: int | None
    entries: Any
    prompt_ids: list[int] | None = None

    @classmethod
    def of(cls, data: Any) -> Answer:
        """Reads a chat completion.

        Raises:
            PassingFaultError: It is none, or one that was stopped for another reason than its end or the budget.
        """
        try:
            choice = data["choices"][0]
            text, reason = choice["message"]["content"], choice["finish_reason"]
        except (KeyError, IndexError, TypeError):
            raise PassingFaultError("an answer without choices[0].message.content and finish_reason") from None
        if reason not in {"stop", "length"} or not isinstance(text, str):
            raise PassingFaultError(f"an answer without a text that ended by {str(reason)[:40]!r}")
        usage, logprobs = data.get("usage"), choice.get("logprobs")
        tokens = usage.get("completion_tokens") if isinstance(usage, Mapping) else None
        return cls(
            text=safe_text(text),
            finished=reason == "stop",
            tokens=tokens if isinstance(tokens, int) else None,
            entries=logprobs.get("content") if isinstance(logprobs, Mapping) else None,
            prompt_ids=_token_ids(data.get("prompt_token_ids")),
        )

    def served(self, k: int) -> list[tuple[Served, list[Served]]]:
        """Every written token with its k most probable alternatives, the most probable first.

        Raises:
            UnusableError: They are missing or malformed, or there are fewer.
        """
        if not isinstance(self.entries, list) or not self.entries:
            raise UnusableError("the server sends none")
        if self.tokens is not None and self.tokens != len(self.entries):
            raise UnusableError(f"the server counts {self.tokens} tokens and describes {len(self.entries)}")
        return [(_token(entry), _alternatives(entry, k)) for entry in self.entries]


def _token_ids(listed: Any) -> list[int] | None:
    """Token ids as vLLM returns them where `return_token_ids` asks for them."""
    is_ids = isinstance(listed, list) and all(isinstance(id_, int) and not isinstance(id_, bool) for id_ in listed)
    return listed if is_ids and listed else None


def _alternatives(entry: Any, k: int) -> list[Served]:
    top = entry.get("top_logprobs")
    listed = [_token(item) for item in top] if isinstance(top, list) else []
    if len(listed) < k:
        raise UnusableError(f"{k} alternatives were asked for (transfer.top_logprobs) and {len(listed)} served")
    # A server may add the written token to the k that were asked for.
    return sorted(listed, key=lambda token: -token.logprob)[:k]


def _token(entry: Any) -> Served:
    if not isinstance(entry, Mapping):
        raise UnusableError("an entry is no object")
    text, id_, logprob = entry.get("token"), entry.get("id"), entry.get("logprob")
    if not isinstance(text, str):
        raise UnusableError("an entry has no token")
    if not isinstance(logprob, int | float) or isinstance(logprob, bool) or not math.isfinite(logprob):
        raise UnusableError(f"the log-probability of {text!r} is no number")
    return Served(text, id_ if isinstance(id_, int) and not isinstance(id_, bool) else None, float(logprob))
