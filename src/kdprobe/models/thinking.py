"""Separates what a model thinks before it answers from the answer, by the markers around it.

A thinking model writes its thinking between markers: `<think>…</think>` (Qwen3, DeepSeek R1, GLM, SmolLM3), `[THINK]`
(Mistral), `<seed:think>` (Seed-OSS), and others; gpt-oss writes it to a separate channel (Harmony). Some chat templates
write the opening marker themselves, at the end of the prompt, so that the response contains only the closing one.

Text between the markers is never the answer. If thinking was begun but not ended, there is no answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

_WORDS = "think|thinking|thoughts?|reasoning|seed:think|ant:?thinking"
_END = rf"/(?:(?i:{_WORDS})>|THINK\]|think▷)|\|(?:end_of_thought|END_THINKING|inner_suffix)\|>|channel\|>"
_BEGIN = rf"(?i:{_WORDS})>|THINK\]|think▷|\|(?:begin_of_thought|START_THINKING|inner_prefix)\|>|\|channel>thought\n"
"""Markers without their first character: the common ones, then those of Mistral, Kimi, Sky-T1, Command A, Apertus,
Gemma 4."""
_MARK = re.compile(rf"[<\[◁](?:(?P<end>{_END})|{_BEGIN})")
_HEADER = re.compile(
    r"(?:<\|start\|>[^<|]{0,80})?<\|channel\|>\s?(?P<channel>\w{1,20})[^<|]{0,80}"
    r"(?:<\|constrain\|>[^<|]{0,80})?<\|message\|>"
)
_MESSAGE_END = re.compile(r"<\|(?:end|return|call)\|>")
_BARE_HEADER = re.compile(
    r"\A\s{0,9}(?:analysis|commentary)(?=\w| to=)|assistant(?:analysis|commentary|(?P<final>final))"
)
"""A Harmony header whose special tokens were dropped in decoding: `analysisWe need … assistantfinalIt is 7`."""
_OPENED = re.compile(rf"(?:[<\[◁](?:{_BEGIN})|<\|channel\|>analysis<\|message\|>)\s{{0,9}}\Z")
_SPECIAL = re.compile(rf"{_MARK.pattern}|<\|(?:start|channel|constrain|message|end)\|>")
_LONGEST_MARK = 100
_SERVED = ("reasoning_content", "reasoning", "thinking")
"""Names in servers' messages: DeepSeek, vLLM, SGLang and llama.cpp; newer vLLM and OpenRouter; Ollama."""
_HINTS = ("think", "thought", "reasoning", "inner_", "channel")
"""Every marker contains one of these in lower case; most texts contain none, and are not searched."""


@dataclass(frozen=True)
class Written:
    """What a model wrote, separated into parts.

    Attributes:
        answer: The text outside of thinking; empty if the thinking never ended. Text without markers is all answer.
        thinking: The thinking, or `None` if there is none.
        closed: Whether the thinking ended, so that there is an answer.
    """

    answer: str
    thinking: str | None = None
    closed: bool = True


class _Scan(NamedTuple):
    """Spans of the answer and of the thinking, and whether the latter ended."""

    answer: list[tuple[int, int]]
    thinking: list[tuple[int, int]]
    closed: bool


def split_thinking(text: str) -> Written:
    """Separates an answer from the thinking before it; see `with_opening` for prompts that begin the thinking.

    Args:
        text: What a model wrote, including markers.
    """
    scan = _scan(text)
    if scan is None:
        return Written(text)
    thinking = "\n\n".join(part for start, end in scan.thinking if (part := text[start:end].strip()))
    answer = "".join(text[start:end] for start, end in scan.answer).strip() if scan.closed else ""
    return Written(answer, thinking if thinking or not scan.closed else None, scan.closed)


def without_thinking(text: str) -> str:
    """The text with markers and non-answers replaced by spaces, so that positions do not shift."""
    scan = _scan(text)
    if scan is None:
        return text
    blank = [" "] * len(text)
    for start, end in scan.answer if scan.closed else []:
        blank[start:end] = text[start:end]
    return "".join(blank)


def marked(thinking: str | None, answer: str, *, closed: bool | None = None) -> str:
    """One text from thinking and answer that were given separately.

    Args:
        thinking: The model's thinking, or nothing.
        answer: The model's answer.
        closed: Whether its thinking ended; if unknown, it is taken to have ended when an answer follows.
    """
    if not (thinking and thinking.strip()) and closed is not False:
        return answer
    ended = bool(answer.strip()) if closed is None else closed
    return f"<think>\n{thinking}\n</think>\n\n{answer}" if ended else f"<think>\n{thinking or ''}"


def served_thinking(message: Mapping[str, Any]) -> str | None:
    """The thinking in a server's message, separate from the content; `None` if the message has none."""
    named = (message.get(name) for name in _SERVED)
    return next((text for text in named if isinstance(text, str) and text.strip()), None)


def with_opening(prompt: str, response: str) -> str:
    """A response preceded by the marker at the end of its prompt, so that it shows by itself where thinking begins."""
    opened = _OPENED.search(prompt, max(0, len(prompt) - _LONGEST_MARK))
    if opened is None or _begins_thinking(response):
        return response
    return opened[0] + response


def begins_thinking(prompt: str) -> bool:
    """Whether a prompt ends with the marker that begins thinking, so that the response continues it."""
    return _OPENED.search(prompt, max(0, len(prompt) - _LONGEST_MARK)) is not None


def has_lost_opening(text: str) -> bool:
    """Whether a text ends thinking that it does not begin, as after a prompt that begins it."""
    first = next(_MARK.finditer(text), None)
    return first is not None and first["end"] is not None


def has_marks(text: str) -> bool:
    """Whether a text contains any thinking marker."""
    return _scan(text) is not None


def written_text(tokenizer: Any, ids: Sequence[int]) -> str:
    """Token ids as text without special tokens, except for those that mark thinking."""
    special = {int(id_): str(token) for id_, token in tokenizer.added_tokens_decoder.items() if token.special}
    if not any(id_ in special and _SPECIAL.fullmatch(special[id_]) for id_ in ids):
        text: str = tokenizer.decode(ids, skip_special_tokens=True)
        return text
    kept = [id_ for id_ in ids if id_ not in special or _SPECIAL.fullmatch(special[id_])]
    return str(tokenizer.decode(kept, skip_special_tokens=False))


def _begins_thinking(text: str) -> bool:
    begun = _MARK.match(text.lstrip())
    return (begun is not None and begun["end"] is None) or _HEADER.match(text.lstrip()) is not None


def _scan(text: str) -> _Scan | None:
    """The positions of answer and thinking; `None` if there is no marker."""
    lower = text.lower()
    if any(hint in lower for hint in _HINTS):
        if _HEADER.search(text):
            return _messages(text, _HEADER, lambda header: header["channel"] == "final")
        if _MARK.search(text):
            return _blocks(text)
    bare = "assistant" in lower or lower.lstrip().startswith(("analysis", "commentary"))
    if bare and _BARE_HEADER.search(text):
        return _messages(text, _BARE_HEADER, lambda header: header["final"] is not None)
    return None


def _blocks(text: str) -> _Scan:
    answer: list[tuple[int, int]] = []
    thinking: list[tuple[int, int]] = []
    start, begun = 0, False
    for mark in _MARK.finditer(text):
        if mark["end"] is None and begun:
            continue  # A model that thinks about its markers.
        if mark["end"] is None:
            answer.append((start, mark.start()))
        elif begun:
            thinking.append((start, mark.start()))
        else:
            # It was begun by the prompt, or ended before: everything up to here is thinking.
            answer, thinking = [], [*thinking, *answer, (start, mark.start())]
        start, begun = mark.end(), mark["end"] is None
    (thinking if begun else answer).append((start, len(text)))
    return _Scan(answer, thinking, closed=not begun)


def _messages(text: str, header: re.Pattern[str], answered: Callable[[re.Match[str]], bool]) -> _Scan:
    """Harmony: the answer is the text in the channel `final`."""
    headers = list(header.finditer(text))
    answer: list[tuple[int, int]] = []
    thinking = [(0, headers[0].start())]
    for begin, following in zip(headers, [*(later.start() for later in headers[1:]), len(text)], strict=True):
        ended = _MESSAGE_END.search(text, begin.end(), following)
        span = begin.end(), ended.start() if ended else following
        (answer if answered(begin) else thinking).append(span)
    return _Scan(answer, thinking, closed=bool(answer))
