"""From served tokens to the student's ids, one to one, or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from kdprobe.models import is_end
from kdprobe.teachers import SparseRows
from kdprobe_openai.answer import Answer, Served, UnusableError

_TOKEN_ID = "token_id:"  # noqa: S105 - no password
"""What vLLM writes instead of a token's text when it is asked to return tokens as ids."""
_UNREADABLE = "\ufffd"
_FLOAT32 = 2.0**-24
"""Resolution of the float32 probabilities that servers calculate with."""
_MOST_MASS = 1 + 1e-3


class TokenMap:
    """The student's tokens, by their text.

    Args:
        tokenizer: The student's.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    @cached_property
    def texts(self) -> list[str]:
        """The text of every id by itself."""
        return [self._decode([id_]) for id_ in range(len(self.tokenizer))]

    @cached_property
    def _by_text(self) -> dict[str, int | None]:
        """Text to the one id that has it; `None` where several have."""
        ids: dict[str, int | None] = {}
        for id_, text in enumerate(self.texts):
            ids[text] = None if text in ids else id_
        return ids

    def id_of(self, token: Served) -> int:
        """The student's id of a served token.

        Raises:
            UnusableError: It has none, or there are several.
        """
        id_ = token.id
        if id_ is None and token.text.startswith(_TOKEN_ID) and token.text[len(_TOKEN_ID) :].isdecimal():
            id_ = int(token.text[len(_TOKEN_ID) :])
        elif id_ is not None and 0 <= id_ < len(self.texts) and not self._agrees(id_, token.text):
            raise UnusableError(
                f"token {id_} is {token.text!r} to the server and {self.texts[id_]!r} to the student's tokenizer"
            )
        if id_ is None:
            id_ = self._by_text.get(token.text)
        if id_ is None or not 0 <= id_ < len(self.texts):
            raise UnusableError(f"the token {token.text!r} is not exactly one of the student's tokens")
        return id_

    def rows(self, answer: Answer, k: int) -> tuple[list[int], SparseRows]:
        """Token ids of an answer, and the teacher's distribution at each.

        Returns:
            Ids `[tokens]` and rows `[tokens, k]`. The tail's mass is 1 less the sum of the k, each of which is known to
            about 1e-7: nothing below that is claimed. It is known at temperature 1 alone.

        Raises:
            UnusableError: A token is none of the student's, the ids do not give the text back, or the rows are no
                distributions.
        """
        served = answer.served(k)
        ids = [self.id_of(written) for written, _ in served]
        self._check_text(answer, ids)
        top = [[self.id_of(token) for token in alternatives] for _, alternatives in served]
        if any(len(set(row)) < k for row in top):
            raise UnusableError("an alternative is served twice")
        logprobs = np.array([[token.logprob for token in alternatives] for _, alternatives in served])
        mass = np.exp(logprobs).sum(axis=-1)
        if mass.max() > _MOST_MASS:
            raise UnusableError(f"the probabilities of a position sum to {mass.max():.4f}")
        return ids, SparseRows(
            ids=np.array(top, dtype=np.int32),
            logprobs=np.minimum(logprobs, 0.0).astype(np.float32),
            tail_logmass={1.0: np.log(np.maximum(1 - mass, k * _FLOAT32)).astype(np.float32)},
            token_logprobs=np.array([written.logprob for written, _ in served], dtype=np.float32),
        )

    def _check_text(self, answer: Answer, ids: list[int]) -> None:
        """The ids must give the text back, and end a finished answer with the end of turn."""
        # A finished answer must teach the end of turn too; a server that leaves it out leaves out its distribution.
        if answer.finished and not is_end(self.tokenizer, ids[-1]):
            raise UnusableError("the server leaves out the end of turn, so a student would not learn to stop")
        text = self._decode(ids, skip_special_tokens=True)
        if text.strip() != answer.text.strip():
            raise UnusableError(f"the tokens give {text.strip()[:40]!r} and not the text {answer.text.strip()[:40]!r}")

    def _agrees(self, id_: int, text: str) -> bool:
        """Whether an id has that text; servers hide special tokens' and parts of characters."""
        ours = self.texts[id_]
        return text in {ours, ""} or _UNREADABLE in ours or _UNREADABLE in text

    def _decode(self, ids: Sequence[int], *, skip_special_tokens: bool = False) -> str:
        text: str = self.tokenizer.decode(
            ids, skip_special_tokens=skip_special_tokens, clean_up_tokenization_spaces=False
        )
        return text
