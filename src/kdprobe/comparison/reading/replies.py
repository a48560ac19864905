"""Extracts the text a model wrote from the replies of servers and libraries.

Known are replies of OpenAI's chat, completion and responses APIs and their batches, Anthropic's messages and batches,
Gemini, Ollama, vLLM and Hugging Face pipelines, conversations, and lists of samples of any of these.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping, Sequence
from numbers import Number
from typing import Any

from kdprobe.models.thinking import marked, served_thinking

INSIDE = (
    "body", "response", "result", "message", "content", "generated_text", "text", "completion", "output",
)  # fmt: skip
"""Keys that hold the reply, outermost first."""
SAMPLES = ("choices", "candidates", "outputs")
"""Keys that hold one object per sample."""
_ENVELOPE = frozenset({*SAMPLES, "body", "role"})
"""Keys that a model would not write by itself."""
_WRITERS = frozenset({"assistant", "model", "ai", "gpt"})
_THOUGHTS = frozenset({"thinking", "reasoning", "redacted_thinking"})
"""Types of the parts that hold thinking."""
_LITERAL = re.compile(r"\s*[\[{]\s*['\"\[{]")
_PRINTED = re.compile(
    r"\s*(?:<[\w.]+ object at 0x|(?:Chat|Parsed)?Completion\w*\(|Message\(|AIMessage\(|ModelResponse\(|RequestOutput\("
    r"|(?:np\.|numpy\.)?array\(\[|content=(?P<quote>['\"]).*?(?P=quote) (?:additional_kwargs|response_metadata|id)="
    r"|\[\s*(?P<first>['\"]).*?(?P=first)\s+['\"])",
    re.DOTALL,
)
"""The beginnings of printed Python objects, and of numpy arrays of texts, which have no commas."""


def samples(value: Any) -> list[str] | None:
    """The text of each sample a model wrote; empty if the request failed or the reply has no text.

    Args:
        value: A cell: text, a number, or a reply in a known format.

    Returns:
        The texts, or `None` if the format is unknown.
    """
    if value is None or value != value:  # noqa: PLR0124 - only NaN differs from itself
        return []
    if isinstance(value, str):
        return [value]
    if isinstance(value, Number):
        return [str(value)]
    if isinstance(value, Mapping):
        return _of_object(value)
    return _of_list(value) if isinstance(value, Sequence) and not isinstance(value, bytes) else None


def _of_object(reply: Mapping[str, Any]) -> list[str] | None:
    for key in SAMPLES:
        if isinstance(reply.get(key), list):
            return _flat([samples(sample) for sample in in_order(reply[key])])
    if isinstance(reply.get("output"), list):
        known = {"message", *_THOUGHTS}
        return _joined([item for item in reply["output"] if isinstance(item, Mapping) and item.get("type") in known])
    if isinstance(reply.get("parts"), list):
        return _joined(reply["parts"])
    for key in INSIDE:
        if key in reply:
            inside = reply[key]
            texts = _joined(inside) if key == "content" and _is_objects(inside) else samples(inside)
            thinking = served_thinking(reply)
            return texts if texts is None or not thinking else [marked(thinking, text) for text in (texts or [""])]
    # A request that failed, a prompt that was blocked, a message that ended before it began.
    return [] if not {"error", "promptFeedback"}.isdisjoint(reply) or set(reply) == {"role"} else None


def in_order(several: Sequence[Any]) -> list[Any]:
    """Several samples by their index, because servers may return them in another order."""

    def position(sample: Any) -> int:
        index = sample.get("index") if isinstance(sample, Mapping) else None
        return index if isinstance(index, int) else 0

    return sorted(several, key=position)


def _of_list(items: Sequence[Any]) -> list[str] | None:
    if all(item is None or isinstance(item, str) for item in items):
        return [item or "" for item in items]
    if _is_objects(items):
        if all("role" in item or "from" in item for item in items):
            return _last_turn(items)
        if all(item.get("type") in {"text", "output_text", "thinking", "reasoning", "refusal"} for item in items):
            return _joined(items)
    return _flat([samples(item) for item in items]) if all(isinstance(item, list | dict) for item in items) else None


def _last_turn(turns: Sequence[Mapping[str, Any]]) -> list[str] | None:
    """The model's last turn in a conversation; `None` if it has none."""
    for turn in reversed(turns):
        if (turn.get("role") or turn.get("from")) in _WRITERS:
            return samples(turn["value"]) if "value" in turn else _of_object(turn)
    return None


def _joined(parts: Sequence[Any]) -> list[str]:
    """Joins parts into one text, preceded by the marked thinking; parts that are not text are skipped."""
    texts, thoughts = [], []
    for part in parts:
        if isinstance(part, str):
            texts.append(part)
        elif not isinstance(part, Mapping):
            continue
        elif part.get("thought") or part.get("type") in _THOUGHTS:
            thoughts += _thought(part)
        elif isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif _is_objects(part.get("content")):
            texts += _joined(part["content"])
    return [marked("\n".join(thoughts), "".join(texts))] if texts or thoughts else []


def _thought(part: Mapping[str, Any]) -> list[str]:
    """The texts of a part that holds thinking, under whichever key."""
    texts = []
    for key in ("thinking", "text", "reasoning", "summary", "content"):
        inside = part.get(key)
        items = inside if isinstance(inside, list) else [inside]
        texts += [item["text"] if isinstance(item, Mapping) and "text" in item else item for item in items]
    return [text for text in texts if isinstance(text, str)]


def _flat(found: Sequence[list[str] | None]) -> list[str] | None:
    if any(texts is None for texts in found):
        return None
    return [text for texts in found if texts is not None for text in (texts or [""])]


def _is_objects(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, Mapping) for item in value)


def written_value(text: str) -> Any:
    """The list or object that a text represents, as JSON or as Python prints it; `None` for any other text."""
    if not _LITERAL.match(text):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    if is_printed_object(text):
        return None
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
        return None


def is_marked(value: Any) -> bool:
    """Whether a list or object has keys of a server's reply that a model would not write by itself."""
    items = value if isinstance(value, list) else [value]
    return any(isinstance(item, dict) and not _ENVELOPE.isdisjoint(item) for item in items)


def is_printed_object(text: str) -> bool:
    """Whether a text is a Python object as `print` shows it, which cannot be parsed safely."""
    return _PRINTED.match(text) is not None
