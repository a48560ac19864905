"""Converts a transfer set to the token ids of a student, whose tokenizer may differ from the teacher's.

If all ids in use mean the same to both, students learn from the teacher's ids. Otherwise its text is tokenised again
with the student's tokenizer, with the beginning and end of turn of the student's chat template. That suffices for a
distiller that learns from text, but not for one that compares distributions token by token.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kdprobe.errors import KdprobeError
from kdprobe.models.conversation import tokenizer_digest
from kdprobe.models.outline.tokenizers import TokenizerMatch
from kdprobe.models.turn import response_ids
from kdprobe.teachers.teacher import Response, SparseRows

if TYPE_CHECKING:
    from kdprobe.transfer.transfer_set import TransferSet

TEXT_INSTEAD = (
    'Set distill.name = "sequence", which learns from the teacher\'s text, or choose models that share their tokenizer.'
)
"""What to do if token ids cannot be compared."""


def fitted(transfer: TransferSet, match: TokenizerMatch, tokenizer: Any, *, rows: bool) -> TransferSet:
    """A transfer set in the student's token ids.

    Args:
        transfer: The teacher's transfer set.
        match: How the two tokenizers match.
        tokenizer: The student's tokenizer.
        rows: Whether the teacher's distributions are needed in addition to its text.

    Returns:
        The same set if all ids mean the same to both; otherwise texts are tokenised again, and the manifest says
        `retokenised`.

    Raises:
        KdprobeError: The distributions are needed, and the ids cannot be compared.
    """
    manifest = {**transfer.manifest, "tokenizer": tokenizer_digest(tokenizer)}
    used = {int(token) for response in transfer.responses for token in response.token_ids} & match.foreign
    if not match.difference and not used:
        return replace(transfer, responses=_known_only(transfer.responses, match.foreign), manifest=manifest)
    if rows:
        raise KdprobeError(_reason(match, used), TEXT_INSTEAD)
    retokenised = tuple(_retokenised(response, tokenizer) for response in transfer.responses)
    manifest |= {"vocabulary": len(tokenizer), "retokenised": True}
    return replace(transfer, responses=retokenised, manifest=manifest)


def _reason(match: TokenizerMatch, used: Collection[int]) -> str:
    if match.difference:
        return f"The student's tokenizer is not the teacher's: {match.difference}."
    shown = ", ".join(str(token) for token in sorted(used)[:3])
    ids = "1 token id that means" if len(used) == 1 else f"{len(used)} token ids that mean"
    return f"The teacher's answers use {ids} something else to the student ({shown})."


def _retokenised(response: Response, tokenizer: Any) -> Response:
    if not len(response.token_ids):
        return replace(response, rows=None)
    thinking = response.thinking.text if response.thinking is not None and response.thinking.taught else None
    # Students must not learn to stop where an answer was cut off.
    ids = response_ids(tokenizer, response.text, thinking, ended=response.finished)
    return replace(response, token_ids=np.asarray(ids, dtype=np.int64), rows=None)


def _known_only(responses: Sequence[Response], foreign: Collection[int]) -> tuple[Response, ...]:
    """Responses without foreign ids in their rows; the mass of these ids moves to the tail of all other tokens.

    Raises:
        KdprobeError: A row has only foreign ids.
    """
    ids = list(foreign)
    unknown = {index: np.isin(r.rows.ids, ids) for index, r in enumerate(responses) if r.rows is not None and ids}
    most = max((int(mask.sum(axis=1).max(initial=0)) for mask in unknown.values()), default=0)
    if not most:
        return tuple(responses)
    return tuple(
        replace(response, rows=_narrower(response.rows, unknown[index], most)) if response.rows else response
        for index, response in enumerate(responses)
    )


def _narrower(rows: SparseRows, unknown: NDArray[np.bool_], most: int) -> SparseRows:
    """Rows without unknown ids; the least likely ids are dropped too, until all rows have the same width."""
    width = rows.ids.shape[1] - most
    if not width:
        raise KdprobeError(
            "At some position, none of the teacher's top tokens is in the student's vocabulary.", TEXT_INSTEAD
        )
    # Known ids first, in their order.
    order = np.argsort(unknown, axis=1, kind="stable")
    kept, dropped = order[:, :width], order[:, width:]
    return SparseRows(
        ids=np.take_along_axis(rows.ids, kept, axis=1),
        logprobs=np.take_along_axis(rows.logprobs, kept, axis=1),
        tail_logmass={
            temperature: _joined(rows.logprobs, dropped, tail, temperature)
            for temperature, tail in rows.tail_logmass.items()
        },
        token_logprobs=rows.token_logprobs,
    )


def _joined(
    logprobs: NDArray[np.floating[Any]], dropped: NDArray[np.intp], tail: NDArray[np.float32], temperature: float
) -> NDArray[np.float32]:
    """Log of the tail's mass at a temperature, `[tokens]`, including the dropped columns `[tokens, dropped]`.

    At temperatures other than 1, the top k are known up to a factor, which follows from the mass outside the tail.
    """
    scaled = logprobs.astype(np.float64) / temperature
    shares = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    moved = np.take_along_axis(shares, dropped, axis=1).sum(axis=1) / shares.sum(axis=1)
    outside = np.exp(tail.astype(np.float64))
    with np.errstate(divide="ignore"):
        joined: NDArray[np.float32] = np.log(outside + (1 - outside) * moved).astype(np.float32)
    return joined
