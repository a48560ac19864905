"""Checks whether token ids mean the same in two tokenizers.

Two tokenizers count as equal if they split text by the same rules into the same tokens, and differ at most in tokens
that were added later. Those are *foreign*, and it matters whether they are used.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

_RULES = ("normalizer", "pre_tokenizer", "decoder")
_RULE_NAMES = {"normalizer": "normalisers", "pre_tokenizer": "pre-tokenizers", "decoder": "decoders"}


@dataclass(frozen=True)
class TokenizerMatch:
    """How the ids of one tokenizer (the writer's) read in another (the reader's).

    Attributes:
        difference: Why their ids cannot be compared at all, as the end of a sentence; empty if they can.
        foreign: Ids of the writer that mean something else, or nothing, to the reader.
    """

    difference: str = ""
    foreign: frozenset[int] = frozenset()

    def within(self, rows: int, vocabulary: int) -> TokenizerMatch:
        """The match for a reader whose matrices have `rows` rows, and a writer with this many ids."""
        return TokenizerMatch(self.difference, self.foreign | frozenset(range(rows, vocabulary)))


def match_tokenizers(writer: Any, reader: Any) -> TokenizerMatch:
    """Compares two tokenizers.

    Args:
        writer: The tokenizer whose ids were written.
        reader: The tokenizer of the model that is to read them.
    """
    if writer is reader:
        return TokenizerMatch()
    written, read = writer.get_vocab(), reader.get_vocab()
    if written == read and _serialised(writer) == _serialised(reader):
        return TokenizerMatch()
    rules, other = _rules(writer), _rules(reader)
    by_id = {token: text for text, token in read.items()}
    added = {*writer.added_tokens_decoder, *reader.added_tokens_decoder}
    foreign = {token for text, token in written.items() if by_id.get(token) != text}
    conflicting = sum(token in by_id and token not in added for token in foreign)
    if conflicting:
        stand = "stands for a different token in each" if conflicting == 1 else "stand for different tokens"
        return TokenizerMatch(f"{conflicting:,} of {len(written):,} ids {stand}")
    if rules["model"] != other["model"]:
        return TokenizerMatch("they merge characters into tokens by different rules")
    for rule in _RULES:
        if rules[rule] != other[rule]:
            return TokenizerMatch(f"they have different {_RULE_NAMES[rule]}")
    return TokenizerMatch(foreign=frozenset(foreign))


def _serialised(tokenizer: Any) -> Any:
    """A tokenizer as text; for one written in Python, its class name is all there is."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    return type(tokenizer).__name__ if backend is None else backend.to_str()


def _rules(tokenizer: Any) -> dict[str, Any]:
    """How a tokenizer splits text, without its vocabulary, which is compared separately."""
    if getattr(tokenizer, "backend_tokenizer", None) is None:
        return {"model": type(tokenizer).__name__, **dict.fromkeys(_RULES)}
    data = json.loads(_serialised(tokenizer))
    model = data["model"]
    # A unigram model's scores correspond to the merges of other models.
    scores = model.pop("vocab", None)
    rules = {rule: data.get(rule) for rule in _RULES}
    return {"model": {**model, "scores": scores if isinstance(scores, list) else None}, **rules}
