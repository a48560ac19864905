"""How students are taught to end their turn."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from kdprobe.models.turn import assistant_turn, is_end

if TYPE_CHECKING:
    from kdprobe.transfer.transfer_set import TransferSet


def ends_of(tokenizer: Any, taught: TransferSet | None, *, gold: bool) -> tuple[set[int], int]:
    """The tokens a student is trained to end its turn with, and how many finished answers of the teacher lack one.

    From the latter a student does not learn to stop.
    """
    responses = taught.responses.texts if taught else []
    finished = (response.token_ids for response in responses if response.finished and len(response.token_ids))
    last = Counter(int(ids[-1]) for ids in finished)
    ends = {token for token in last if is_end(tokenizer, token)}
    without_end = last.total() - sum(last[token] for token in ends)
    return ends | ({assistant_turn(tokenizer).end} if gold else set()), without_end
