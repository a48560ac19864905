"""A server's answer, checked: text, thinking, finish reason, and the log-probabilities as they were served."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from kdprobe.models import served_thinking, split_thinking
from kdprobe.teachers import safe_text
from kdprobe_openai.server import PassingFaultError

_ENDED = frozenset({"stop", "eos", "eos_token", "end_turn", "stop_sequence", "stop_token"})
"""Finish reasons of answers that the model ended itself."""
_BROKEN_OFF = frozenset({"error", "abort", "insufficient_system_resource"})
"""Finish reasons of answers that the server aborted; another attempt may succeed."""


_MOST = 2**31
"""Counts and token ids are smaller than this; transfer sets store both in 32 bits."""
_LARGEST = 1e30
"""Log-probabilities are above minus this; transfer sets store them as float32."""


class UnusableError(Exception):
    """The log-probabilities cannot be used; the message is the reason, worded to follow "because"."""


@dataclass(frozen=True)
class Served:
    """A token as it was served.

    Attributes:
        text: The token's text, or `token_id:N`.
        id: Its id, if the server sends it (llama.cpp does).
        logprob: Natural logarithm of its probability; -inf if that is zero.
    """

    text: str
    id: int | None
    logprob: float


@dataclass(frozen=True)
class Answer:
    """A completion. It may have no text: filtered, refused, a tool call, or thinking that did not end.

    Attributes:
        text: The answer; empty if there is none.
        finish_reason: The server's finish reason; `refusal` if the model refused; `None` if the server sends none.
        thinking: The thinking before it, or `None`.
        tokens: Number of tokens by the server's count, or `None`.
        thinking_tokens: Number of them that are thinking, or `None`.
        entries: Entries of its log-probabilities as served, or `None`.
        prompt_ids: Token ids of the prompt as the server rendered it, or `None` if it does not send them.
    """

    text: str
    finish_reason: str | None
    thinking: str | None = None
    tokens: int | None = None
    thinking_tokens: int | None = None
    entries: Any = None
    prompt_ids: list[int] | None = None

    @property
    def finished(self) -> bool:
        """Whether the model itself ended the answer."""
        return self.finish_reason is not None and self.finish_reason.lower() in _ENDED

    @classmethod
    def of(cls, data: Any) -> Answer:
        """Reads a chat completion.

        Raises:
            PassingFaultError: It is not a completion, or is empty or aborted; the last attempt accepts the latter two.
        """
        choices = data.get("choices") if isinstance(data, Mapping) else None
        if choices == []:
            raise PassingFaultError("an answer without choices", instead=cls("", "no choice"))
        choice = choices[0] if isinstance(choices, list) else None
        message = choice.get("message") if isinstance(choice, Mapping) else None
        if not isinstance(choice, Mapping) or not isinstance(message, Mapping):
            raise PassingFaultError("an answer without choices[0].message")
        answer = cls._of_choice(data, choice, message)
        if answer.finish_reason in _BROKEN_OFF:
            raise PassingFaultError(f"an answer with finish_reason {answer.finish_reason!r}", instead=answer)
        return answer

    @classmethod
    def _of_choice(cls, data: Mapping[str, Any], choice: Mapping[str, Any], message: Mapping[str, Any]) -> Answer:
        content, thoughts = _parts(message.get("content"))
        written = split_thinking(safe_text(content))
        thinking = served_thinking(message) or thoughts or written.thinking
        reason = choice.get("finish_reason")
        if message.get("refusal") and not written.answer.strip() and reason in {None, "stop"}:
            reason = "refusal"
        usage, logprobs = data.get("usage"), choice.get("logprobs")
        usage = usage if isinstance(usage, Mapping) else {}
        details = usage.get("completion_tokens_details")
        return cls(
            text=written.answer.strip(),
            finish_reason=None if reason is None else safe_text(str(reason)[:40]),
            thinking=None if thinking is None else safe_text(thinking),
            tokens=_count(usage.get("completion_tokens")),
            thinking_tokens=_count(details.get("reasoning_tokens")) if isinstance(details, Mapping) else None,
            entries=logprobs.get("content") if isinstance(logprobs, Mapping) else None,
            prompt_ids=_token_ids(data.get("prompt_token_ids")),
        )

    def served(self, k: int) -> list[tuple[Served, list[Served]]]:
        """Returns every token with its k most probable alternatives, the most probable first.

        Raises:
            UnusableError: They are missing or malformed, or there are fewer than k.
        """
        if not isinstance(self.entries, list) or not self.entries:
            raise UnusableError("the server's answer contains none")
        # Some servers count the thinking and do not describe it.
        counts = {self.tokens, (self.tokens or 0) - (self.thinking_tokens or 0)}
        if self.tokens is not None and len(self.entries) not in counts:
            noun = "token" if self.tokens == 1 else "tokens"
            raise UnusableError(
                f"the server reports {self.tokens} {noun} but returns log-probabilities for {len(self.entries)}"
            )
        return described(self.entries, k)


def described(entries: Iterable[Any], k: int) -> list[tuple[Served, list[Served]]]:
    """Reads entries of log-probabilities: every token with its k most probable alternatives, the most probable first.

    Raises:
        UnusableError: They are malformed, or there are fewer than k.
    """
    return [(_token(entry), _alternatives(entry, k)) for entry in entries]


def _parts(content: Any) -> tuple[str, str | None]:
    """Returns text and thinking of a message's content, which is a string, null or a list of parts."""
    if content is None or isinstance(content, str):
        return content or "", None
    if not isinstance(content, list):
        raise PassingFaultError("an answer whose content is not text")
    texts, thoughts = [], []
    for part in content:
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, Mapping):
            if part.get("type") in {"thinking", "reasoning"}:
                inside = part.get("thinking", part.get("reasoning", part.get("text")))
                thoughts.append(_parts(inside)[0])
            elif isinstance(part.get("text"), str):
                texts.append(part["text"])
    return "".join(texts), "".join(thoughts) or None


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MOST else None


def _token_ids(listed: Any) -> list[int] | None:
    """Token ids as vLLM returns them if `return_token_ids` is set."""
    is_ids = isinstance(listed, list) and all(_count(id_) is not None for id_ in listed)
    return listed if is_ids and listed else None


def _alternatives(entry: Any, k: int) -> list[Served]:
    top = entry.get("top_logprobs")
    listed = [_token(item, possible=False) for item in top] if isinstance(top, list) else []
    if len(listed) < k:
        were = "was" if len(listed) == 1 else "were"
        raise UnusableError(f"only {len(listed)} of {k} requested alternatives (transfer.top_logprobs) {were} returned")
    # A server may add the written token to the k requested ones.
    return sorted(listed, key=lambda token: -token.logprob)[:k]


def _token(entry: Any, *, possible: bool = True) -> Served:
    """Reads an entry as a token; an alternative can be impossible, at -inf, but the written token cannot."""
    if not isinstance(entry, Mapping):
        raise UnusableError("an entry is not an object")
    text, id_, logprob = entry.get("token"), entry.get("id"), entry.get("logprob")
    if not isinstance(text, str):
        raise UnusableError("an entry has no token")
    if not isinstance(logprob, int | float) or isinstance(logprob, bool):
        raise UnusableError(f"the log-probability of {text!r} is not a number")
    if not -_LARGEST < logprob < 1 and (possible or logprob != -math.inf):
        raise UnusableError(f"the log-probability of {text!r} is {str(logprob)[:20]}")
    return Served(text, _count(id_), float(logprob))
