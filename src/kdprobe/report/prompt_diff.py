"""What a strategy's prompt has that the unprimed one does not have, word by word."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any

Part = tuple[str, str]
"""`same`, `added` or `left out`, and the text."""
_SHORT = 240
"""Characters of a prompt that the first screen quotes."""
_WORDS = re.compile(r"\s+|\S+")


def prompt_diffs(conversations: Mapping[str, Mapping[str, Any]], unprimed: str | None) -> dict[str, list[Part]]:
    """For each strategy, what the teacher reads, compared with the unprimed prompt.

    Args:
        conversations: Those of one problem, by strategy, as in a run's record.
        unprimed: The strategy that asks the bare question; without one, prompts are compared with the student's.
    """
    bare = conversations.get(unprimed or "", {}).get("teacher")
    return {
        strategy: word_diff(_text(bare or pair["student"]), _text(pair["teacher"]))
        for strategy, pair in conversations.items()
    }


def word_diff(before: str, after: str) -> list[Part]:
    """The parts that make both texts."""
    old, new = _WORDS.findall(before), _WORDS.findall(after)
    parts: list[Part] = []
    for kind, from_old, to_old, from_new, to_new in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind in {"delete", "replace"}:
            parts.append(("left out", "".join(old[from_old:to_old])))
        if kind != "delete":
            parts.append(("same" if kind == "equal" else "added", "".join(new[from_new:to_new])))
    return parts


def told(parts: Sequence[Part]) -> tuple[str, str]:
    """What a strategy's prompt says that the unprimed one does not: an introduction, and the quoted text.

    Args:
        parts: The parts of the prompt, from `prompt_diffs`.
    """
    added = " ".join("".join(text for kind, text in parts if kind == "added").split())
    if any(kind == "left out" and text.strip() for kind, text in parts):
        return ("a reworded prompt, with", _quoted(added)) if added else ("a shortened prompt", "")
    return ("the question and", _quoted(added)) if added else ("the bare question", "")


def _quoted(text: str) -> str:
    return f"“{text}”" if len(text) <= _SHORT else f"“{text[:_SHORT].rsplit(' ', 1)[0]} …”"


def _text(messages: Sequence[Mapping[str, str]]) -> str:
    return "\n\n".join(f"{message['role']}: {message['content']}" for message in messages)
