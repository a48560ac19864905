"""The parts of a response; every token belongs to exactly one."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from kdprobe.problems.answers import extract

END = "end_of_turn"
RESPONSE = "response"
"""All tokens of a response."""
PARTS = ("words", "numbers", "symbols", "final_answer", END)
PHRASES = {
    "words": "words",
    "numbers": "numbers",
    "symbols": "symbols (punctuation, line breaks, operators and markup)",
    "final_answer": "the final answer",
    END: "the end-of-turn token",
}
POSITIONS = ((1, 1), (2, 4), (5, 16), (17, 64), (65, 256), (257, None))
"""First and last token of each range of positions in a response, from 1."""
_HASHES = "####"
_UNFINISHED = "\ufffd"
"""What byte-level tokenizers decode the first bytes of a character to."""


def pieces(tokenizer: Any, ids: Sequence[int]) -> list[str]:
    """The text that each token adds; empty for a token that only begins a character, which a later one completes."""
    texts, start, done = [], 0, 0
    for index in range(len(ids)):
        # Decoded after other tokens, because some tokenizers decode a token differently at the start of a text.
        before, including = (_decoded(tokenizer, ids[start:stop]) for stop in (done, index + 1))
        last = index == len(ids) - 1
        if len(including) > len(before) and (last or not including.endswith(_UNFINISHED)):
            texts.append(including[len(before) :])
            start, done = done, index + 1
        else:
            texts.append("")
    return texts


def parts_of(tokenizer: Any, ids: Sequence[int], ends: Collection[int]) -> list[str]:
    """The part of each token, `[token]`.

    The final answer is the value that the extractor `robust` reads, with `####` before it if it has that mark. Of the
    other tokens, those with a digit are numbers, and those with neither letter nor digit are symbols. All tokens of a
    character belong to the same part.

    Args:
        tokenizer: The tokenizer of the teacher.
        ids: The token ids of the response.
        ends: The token ids that end a turn.
    """
    texts = pieces(tokenizer, ids)
    ended = bool(ids) and ids[-1] in ends
    written = texts[:-1] if ended else texts
    text = "".join(written)
    first, last = _final_answer(text)
    parts, position = [], 0
    for piece in written:
        begin, position = position, position + len(piece)
        parts.append("final_answer" if begin < last and position > first else _kind(piece))
    for index in reversed(range(len(parts) - 1)):
        if not written[index]:
            parts[index] = parts[index + 1]
    return [*parts, END] if ended else parts


def _final_answer(text: str) -> tuple[int, int]:
    """The span of the final answer; empty if there is none."""
    found = extract(text)
    if found.where is None:
        return 0, 0
    first, last = found.where
    return (text.rfind(_HASHES, 0, first) if found.rule == "hashes" else first), last


def _kind(piece: str) -> str:
    if any(character.isdigit() for character in piece):
        return "numbers"
    return "words" if any(character.isalpha() for character in piece) else "symbols"


def _decoded(tokenizer: Any, ids: Sequence[int]) -> str:
    return str(tokenizer.decode(list(ids), clean_up_tokenization_spaces=False))
