"""Gold answers without a number: said where there are some, refused where it is all of them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from kdprobe.comparison.answers import Outputs
from kdprobe.errors import KdprobeError

_SHOWN = 60
"""Characters of a gold answer that a message shows."""


def refuse_gold_without_values(outputs: Outputs, right: Iterable[NDArray[np.bool_]]) -> None:
    """Refuses gold answers that hold no number at all, which would make every answer wrong without a word.

    Args:
        outputs: The answers.
        right: What is right of them under each extractor that is asked for; one of a plugin may compare texts.

    Raises:
        KdprobeError: No gold answer is a number, and no extractor finds an answer right.
    """
    if outputs.metric or outputs.gold_without_value < len(outputs.gold) or any(found.any() for found in right):
        return
    column = outputs.columns.get("gold")
    where = f"no gold answer in the column {column!r}" if column else "no gold answer"
    raise KdprobeError(
        f"{outputs.file}: {where} holds one number (the first is {outputs.gold[0][:_SHOWN]!r}).",
        "Name the column with the gold values with --gold-column.",
    )


def gold_notes(outputs: Outputs) -> list[str]:
    """How many gold answers hold no number, as a sentence for the reader; nothing where all do."""
    count = 0 if outputs.metric else outputs.gold_without_value
    return [f"{count} of {len(outputs.gold)} gold answers hold no number, so no number is right."] if count else []
