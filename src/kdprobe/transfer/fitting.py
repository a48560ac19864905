"""Converts a transfer set to the token ids of a student, whose tokenizer may differ from the teacher's.

If all ids in use mean the same to both, students learn from the teacher's ids. Otherwise its text is tokenised again
with the student's tokenizer, with the beginning and end of turn of the student's chat template. That suffices for a
distiller that learns from text, but not for one that compares distributions token by token.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kdprobe.errors import KdprobeError
from kdprobe.models.conversation import tokenizer_digest
from kdprobe.models.outline.tokenizers import TokenizerMatch
from kdprobe.models.turn import response_ids
from kdprobe.teachers.teacher import NO_TOKEN, Response, SparseRows

if TYPE_CHECKING:
    from kdprobe.transfer.responses import Responses
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
    used = match.foreign and {int(token) for response in transfer.responses.texts for token in response.token_ids}
    used &= match.foreign
    if not match.difference and not used:
        fixed = transfer.manifest.get("sampling", {}).get("tail") is None
        known = _known_only(transfer.responses, match.foreign, fixed=fixed) if rows else transfer.responses.texts
        return replace(transfer, responses=known, manifest=manifest)
    if rows:
        raise KdprobeError(_reason(match, used), TEXT_INSTEAD)
    retokenised = transfer.responses.texts.changed(lambda response: _retokenised(response, tokenizer))
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


def _known_only(responses: Responses, foreign: Collection[int], *, fixed: bool) -> Responses:
    """Responses without foreign ids in their rows; the mass of these ids moves to the tail of all other tokens.

    Args:
        responses: The responses.
        foreign: The ids.
        fixed: Whether all rows have the same width; the least likely ids are dropped too, until they do again.

    Raises:
        KdprobeError: A row has only foreign ids.
    """
    ids = list(foreign)
    most, left = 0, 1
    for rows in (response.rows for response in responses if ids):
        if rows is not None and len(rows.ids):
            unknown = np.isin(rows.ids, ids).sum(axis=1)
            most = max(most, int(unknown.max()))
            left = min(left, int(((rows.ids != NO_TOKEN).sum(axis=1) - (most if fixed else unknown)).min()))
    if not most:
        return responses
    if left < 1:
        raise KdprobeError(
            "At some position, none of the teacher's top tokens is in the student's vocabulary.", TEXT_INSTEAD
        )

    def narrower(response: Response) -> Response:
        rows = response.rows
        if rows is None or not len(rows.ids):
            return response
        return replace(response, rows=_narrower(rows, np.isin(rows.ids, ids), most if fixed else 0))

    return responses.changed(narrower)


def _narrower(rows: SparseRows, unknown: NDArray[np.bool_], fewer: int) -> SparseRows:
    """Rows without unknown ids, with fewer columns."""
    width = rows.ids.shape[1] - fewer
    # Known ids first, in their order.
    order = np.argsort(unknown, axis=1, kind="stable")
    kept = order[:, :width]
    left_out = np.take_along_axis(unknown, kept, axis=1)
    dropped = unknown.copy()
    np.put_along_axis(dropped, order[:, width:], values=True, axis=1)
    return SparseRows(
        ids=np.where(left_out, NO_TOKEN, np.take_along_axis(rows.ids, kept, axis=1)),
        logprobs=np.where(left_out, -np.inf, np.take_along_axis(rows.logprobs, kept, axis=1)),
        tail_logmass={
            temperature: _joined(rows.logprobs, dropped, tail, temperature)
            for temperature, tail in rows.tail_logmass.items()
        },
        token_logprobs=rows.token_logprobs,
    )


def _joined(
    logprobs: NDArray[np.floating[Any]], dropped: NDArray[np.bool_], tail: NDArray[np.float32], temperature: float
) -> NDArray[np.float32]:
    """Log of the tail's mass at a temperature, `[tokens]`, including what is dropped, `[tokens, k]`.

    At temperatures other than 1, the top k are known up to a factor, which follows from the mass outside the tail.
    """
    scaled = logprobs.astype(np.float64) / temperature
    shares = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    moved = np.where(dropped, shares, 0.0).sum(axis=1) / shares.sum(axis=1)
    outside = np.exp(tail.astype(np.float64))
    with np.errstate(divide="ignore"):
        joined: NDArray[np.float32] = np.log(outside + (1 - outside) * moved).astype(np.float32)
    return joined
