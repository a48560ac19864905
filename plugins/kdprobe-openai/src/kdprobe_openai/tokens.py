"""Maps served tokens to the student's ids, one to one or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from kdprobe.models import is_end, split_thinking, without_thinking, written_text
from kdprobe.teachers import SparseRows
from kdprobe_openai.answer import Answer, Served, UnusableError

_TOKEN_ID = "token_id:"  # noqa: S105 - not a password
"""What vLLM sends instead of a token's text when asked to return tokens as ids."""
_UNREADABLE = "\ufffd"
_FLOAT32 = 2.0**-24
"""Resolution of the float32 probabilities that servers calculate with."""
_MOST_MASS = 1 + 1e-3


class TokenMap:
    """The student's tokens, by their text.

    Args:
        tokenizer: The student's tokenizer.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    @cached_property
    def texts(self) -> list[str]:
        """The text of every id, decoded alone."""
        return [self._decode([id_]) for id_ in range(len(self.tokenizer))]

    @cached_property
    def _by_text(self) -> dict[str, int | None]:
        """For each text, the only id that has it; `None` if several do."""
        ids: dict[str, int | None] = {}
        for id_, text in enumerate(self.texts):
            ids[text] = None if text in ids else id_
        return ids

    def id_of(self, token: Served) -> int:
        """Returns the student's id of a served token.

        Raises:
            UnusableError: There is none, or there are several.
        """
        id_ = token.id
        if id_ is None and token.text.startswith(_TOKEN_ID) and token.text[len(_TOKEN_ID) :].isdecimal():
            id_ = int(token.text[len(_TOKEN_ID) :])
        elif id_ is not None and 0 <= id_ < len(self.texts) and not self._agrees(id_, token.text):
            raise UnusableError(
                f"token {id_} is {token.text!r} to the server but {self.texts[id_]!r} to the student's tokenizer"
            )
        if id_ is None:
            id_ = self._by_text.get(token.text)
        if id_ is None or not 0 <= id_ < len(self.texts):
            raise UnusableError(f"the token {token.text!r} matches none of the student's tokens")
        return id_

    def rows(self, answer: Answer, k: int, *, with_thinking: bool) -> tuple[list[int], SparseRows]:
        """Returns the token ids of an answer, and the teacher's distribution at each.

        Args:
            answer: The server's answer.
            k: Number of alternatives.
            with_thinking: Whether to include the thinking before it.

        Returns:
            Ids `[tokens]` and rows `[tokens, k]`. The tail's mass is 1 minus the sum of the k, each known to about
            1e-7, so smaller tails are not claimed. It is known only at temperature 1.

        Raises:
            UnusableError: A token is not one of the student's, the ids do not decode to the text, or the rows are not
                distributions.
        """
        served = answer.served(k)
        ids = [self.id_of(written) for written, _ in served]
        first = self._check_text(answer, ids, with_thinking=with_thinking)
        return ids[first:], self._sparse(served[first:], k)

    def rows_of(self, expected: Sequence[int], served: Sequence[tuple[Served, list[Served]]]) -> SparseRows:
        """Returns the teacher's distribution at each token that it read.

        Args:
            expected: The ids that the server was sent, `[tokens]`.
            served: The tokens that it describes, with their alternatives.

        Raises:
            UnusableError: It read other tokens, or the rows are not distributions.
        """
        read = [self.id_of(token) for token, _ in served]
        if read != [*expected]:
            place = next(index for index, (one, other) in enumerate(zip(read, expected, strict=True)) if one != other)
            raise UnusableError(f"the server read token {read[place]} where token {expected[place]} was sent")
        return self._sparse(served, len(served[0][1]))

    def _sparse(self, served: Sequence[tuple[Served, list[Served]]], k: int) -> SparseRows:
        """Returns rows `[tokens, k]`; raises `UnusableError` if they are not distributions."""
        top = [[self.id_of(token) for token in alternatives] for _, alternatives in served]
        if any(len(set(row)) < k for row in top):
            raise UnusableError("a token is listed twice among the alternatives at one position")
        logprobs = np.array([[token.logprob for token in alternatives] for _, alternatives in served])
        logprobs = logprobs.reshape(len(served), k)
        mass = np.exp(logprobs).sum(axis=-1)
        if (mass > _MOST_MASS).any():
            raise UnusableError(f"the probabilities at one position sum to {mass.max():.4f}, more than 1")
        return SparseRows(
            ids=np.array(top, dtype=np.int32).reshape(len(served), k),
            logprobs=np.minimum(logprobs, 0.0).astype(np.float32),
            tail_logmass={1.0: np.log(np.maximum(1 - mass, k * _FLOAT32)).astype(np.float32)},
            token_logprobs=np.array([token.logprob for token, _ in served], dtype=np.float32),
        )

    def _check_text(self, answer: Answer, ids: list[int], *, with_thinking: bool) -> int:
        """Checks that the ids decode to the text, and that a finished answer ends with the end of turn.

        Returns:
            Index of the first id to use: of the thinking, or of the answer after it.
        """
        # A finished answer must teach the end of turn too; a server that omits it also omits its distribution.
        if answer.finished and not is_end(self.tokenizer, ids[-1]):
            raise UnusableError("the server omits the end of turn, so a student would not learn to stop")
        text = written_text(self.tokenizer, ids)
        if not answer.finished and not (answer.text or answer.thinking or "").endswith(_UNREADABLE):
            # vLLM holds back the beginning of a character that the budget cut off.
            text = text.rstrip(_UNREADABLE)
        if answer.thinking is not None and not answer.text and text.strip() == answer.thinking.strip():
            # If the prompt opened the thinking and it was cut off, it has no mark.
            return 0 if with_thinking else len(ids)
        written = split_thinking(text)
        if written.answer.strip() != answer.text:
            raise UnusableError(
                f"the tokens decode to {written.answer.strip()[:40]!r} and not to the text {answer.text[:40]!r}"
            )
        if with_thinking and answer.thinking and written.thinking is None:
            raise UnusableError("the server returns no log-probabilities for the thinking tokens")
        if with_thinking or written.thinking is None:
            return 0
        return self._first_of_answer(ids) if answer.text else len(ids)

    def _first_of_answer(self, ids: list[int]) -> int:
        """Index of the first token of the answer after the thinking."""
        texts = [self.texts[id_] for id_ in ids]
        answer = without_thinking("".join(texts))
        begin, at = len(answer) - len(answer.lstrip()), 0
        for index, text in enumerate(texts):
            at += len(text)
            if at > begin:
                return index
        return len(ids)

    def _agrees(self, id_: int, text: str) -> bool:
        """Whether an id has that text; servers hide the texts of special tokens and of parts of characters."""
        ours = self.texts[id_]
        return text in {ours, ""} or _UNREADABLE in ours or _UNREADABLE in text

    def _decode(self, ids: Sequence[int], *, skip_special_tokens: bool = False) -> str:
        text: str = self.tokenizer.decode(
            ids, skip_special_tokens=skip_special_tokens, clean_up_tokenization_spaces=False
        )
        return text
