"""Reads what a model wrote as a teacher's response: its text, and the thinking before it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kdprobe.models.thinking import split_thinking, with_opening, written_text
from kdprobe.teachers.teacher import Response, SparseRows, Thinking

_PROMPT_END = 16
"""Tokens at the end of a prompt that are enough to contain a mark that begins thinking."""


def written_response(
    id_: str, prompt: Sequence[int], tokens: Sequence[int], rows: SparseRows, *, finished: bool, tokenizer: Any
) -> Response:
    """The response that consists of a model's own token ids.

    Args:
        id_: The id of the request.
        prompt: Token ids of the prompt, whose end may begin the thinking.
        tokens: Token ids that the model wrote, up to and including its end.
        rows: The model's distribution at every token.
        finished: Whether the last token is an end.
        tokenizer: The model's tokenizer.
    """
    import numpy as np

    begun = tokenizer.decode(prompt[-_PROMPT_END:])
    answer = split_thinking(with_opening(begun, written_text(tokenizer, tokens)))
    thinking = None
    if answer.thinking is not None:
        count = len(tokenizer(answer.thinking, add_special_tokens=False)["input_ids"])
        thinking = Thinking(answer.thinking, answer.closed, count)
    return Response(
        id=id_,
        text=answer.answer.strip(),
        token_ids=np.asarray(tokens, dtype=np.int64),
        finished=finished,
        rows=rows,
        thinking=thinking,
    )
