"""Gold answers without a number: noted if there are some, rejected if none has one."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from kdprobe.comparison.answers import Outputs
from kdprobe.errors import KdprobeError

_SHOWN = 60
"""Characters of a gold answer that a message shows."""


def refuse_gold_without_values(outputs: Outputs, right: Iterable[NDArray[np.bool_]]) -> None:
    """Rejects files in which no gold answer is a number, because every answer would silently count as wrong.

    Args:
        outputs: The answers.
        right: Which answers are correct under each requested extractor; a plugin's may compare texts.

    Raises:
        KdprobeError: No gold answer is a number, and no extractor judges any answer correct.
    """
    if outputs.metric or outputs.gold_without_value < len(outputs.gold) or any(found.any() for found in right):
        return
    column = outputs.columns.get("gold")
    where = f"no gold answer in the column {column!r}" if column else "no gold answer"
    raise KdprobeError(
        f"{outputs.file}: {where} can be read as a number (the first is {outputs.gold[0][:_SHOWN]!r}).",
        "Select the column of gold values with --gold-column.",
    )


def gold_notes(outputs: Outputs) -> list[str]:
    """How many gold answers are not a number, as a note for the reader; empty if all are."""
    count = 0 if outputs.metric else outputs.gold_without_value
    have = "has no number, so no answer matches it" if count == 1 else "have no number, so no answer matches them"
    return [f"{count} of {len(outputs.gold)} gold answers {have}."] if count else []
