"""Checks of what a teacher gives, before it is kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from kdprobe.errors import KdprobeError, NonFiniteError
from kdprobe.teachers.teacher import Passage, Request, Response
from kdprobe.text import safe_text


def checked(requests: Sequence[Request | Passage], responses: Iterable[Response]) -> Iterator[Response]:
    """Passes responses on with safe texts; rejects unknown, duplicate and missing ids, and invalid distributions.

    Raises:
        KdprobeError: A problem that was not requested was answered, or one was answered twice, not at all or without
            text.
        NonFiniteError: A log-probability is NaN or +inf, or all of a row are -inf.
    """
    expected = {request.id for request in requests}
    seen: set[str] = set()
    for response in responses:
        if response.id not in expected or response.id in seen:
            fault = "twice" if response.id in seen else "although it was not requested"
            raise KdprobeError(
                f"The teacher answered problem {response.id!r} {fault}.",
                "This is a bug in the teacher's plugin.",
            )
        seen.add(response.id)
        if not isinstance(response.text, str):
            raise KdprobeError(
                f"The teacher's answer to problem {response.id!r} has no text.",
                "This is a bug in the teacher's plugin.",
            )
        _refuse_non_finite(response)
        thinking = response.thinking and replace(response.thinking, text=safe_text(response.thinking.text))
        yield replace(response, text=safe_text(response.text), thinking=thinking)
    if missing := expected - seen:
        several = f"{len(missing)} problems unanswered, including {min(missing)!r}"
        raise KdprobeError(
            f"The teacher left {several if len(missing) > 1 else f'problem {min(missing)!r} unanswered'}.",
            "This is a bug in the teacher's plugin.",
        )


def _refuse_non_finite(response: Response) -> None:
    """Rejects NaN and infinities; a log-probability of -inf is allowed, as the teacher may rule tokens out."""
    rows = response.rows
    if rows is None or not len(rows.logprobs):
        return
    broken = (rows.logprobs == -np.inf).all(axis=1)
    for column in (rows.logprobs, rows.token_logprobs, *rows.tail_logmass.values()):
        # A plugin's columns may have wrong lengths, which is checked later.
        wrong = np.isnan(column) | (column == np.inf)
        wrong = wrong.any(axis=1) if wrong.ndim > 1 else wrong
        broken[: len(wrong)] |= wrong[: len(broken)]
    if broken.any():
        raise NonFiniteError(
            f"The teacher's log-probabilities for {response.id!r} are NaN or infinite at token "
            f"{int(broken.argmax()) + 1} of the answer."
        )
