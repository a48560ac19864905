"""Finds texts that do not fit into a model's context, without tokenising short ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from kdprobe.models.outline.batches import texts_ids

_EXPANSION = 12
"""The maximum factor by which a normaliser expands the bytes of text outside ASCII: NFKC turns a three-byte ligature
into 33."""
_SPECIAL = 16
"""More tokens than any tokenizer adds by itself."""
_SHOWN = 3


class Lengths(NamedTuple):
    """Numbers of tokens of some texts.

    Attributes:
        mean: On average.
        longest: Of the longest.
    """

    mean: float
    longest: float


def too_long(tokenizer: Any, texts: Mapping[str, str], room: int) -> dict[str, int]:
    """The prompts that take more tokens than there is room for, with their length in tokens.

    Args:
        tokenizer: The tokenizer of the model that reads them.
        texts: Texts by name.
        room: The number of tokens available.
    """
    doubtful = in_doubt(texts, room)
    ids = texts_ids(tokenizer, [*doubtful.values()])
    return {name: len(tokens) for name, tokens in zip(doubtful, ids, strict=True) if len(tokens) > room}


def mean_and_longest(tokenizer: Any, texts: Sequence[str]) -> list[float]:
    """The mean and the largest number of tokens of texts, as for `Lengths`."""
    lengths = [len(ids) for ids in texts_ids(tokenizer, texts)]
    return [sum(lengths) / len(lengths), max(lengths)] if lengths else [0.0, 0.0]


def in_doubt(texts: Mapping[str, str], room: int) -> dict[str, str]:
    """The texts that may take more tokens than there is room for, whatever the tokenizer."""
    return {name: text for name, text in texts.items() if _most_tokens(text) > room}


def _most_tokens(text: str) -> int:
    # A token stands for at least one byte.
    plain = len(text) if text.isascii() else len(text.encode("ascii", "ignore"))
    return plain + (len(text.encode()) - plain) * _EXPANSION + _SPECIAL


def exceeding(noun: str, lengths: Mapping[str, int]) -> str:
    """Says after a limit that problems with their gold solutions exceed it, and names them; `noun` is for one."""
    those = (
        f"1 {noun} plus its gold solution is"
        if len(lengths) == 1
        else f"{len(lengths)} {noun}s plus their gold solutions are"
    )
    return f"{those} longer than that: {named(lengths)}"


def named(lengths: Mapping[str, int]) -> str:
    """Names the longest texts, and counts the rest."""
    longest = sorted(lengths, key=lambda name: (-lengths[name], name))
    shown = ", ".join(f"{name} ({lengths[name]} tokens)" for name in longest[:_SHOWN])
    return shown + (f" and {len(longest) - _SHOWN} more" if len(longest) > _SHOWN else "")
