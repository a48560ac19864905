"""Attention recorded while a model generates: the prompt's matrix, then one row for each token read after it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kdprobe.errors import UsageError
from kdprobe.probing.patterns.names import Axis, Numbered
from kdprobe.words import counted

_HINT = "Save the attention of every step, starting with the prompt's, as in step_0_layer_0."


def joined(arrays: Sequence[Numbered], file: Path) -> list[Numbered]:
    """Joins the rows of all steps into one square matrix; arrays without steps are returned unchanged.

    Args:
        arrays: Arrays `[..., query, key]`, whose names number the steps. Step by step, the queries are the tokens read
            in that step, and the keys are all tokens so far.
        file: For messages.

    Raises:
        UsageError: Steps are missing or occur twice, or the number of sequences changes from step to step.
    """
    if not any("step" in each.numbers for each in arrays):
        return list(arrays)
    grouped: dict[tuple[tuple[Axis, int], ...], dict[int, Numbered]] = {}
    for each in arrays:
        others = tuple((axis, number) for axis, number in each.numbers.items() if axis != "step")
        steps = grouped.setdefault(others, {})
        if each.numbers["step"] in steps:
            raise UsageError(f"Two arrays in {file} hold the same step; one is {each.key}.", "Keep one of them.")
        steps[each.numbers["step"]] = each
    return [
        _joined([steps[number] for number in sorted(steps)], dict(others), file) for others, steps in grouped.items()
    ]


def _joined(steps: Sequence[Numbered], numbers: dict[Axis, int], file: Path) -> Numbered:
    """All rows of one layer or head, in order."""
    lead = steps[0].array.shape[:-2]
    total = steps[-1].array.shape[-1]
    whole = np.zeros((*lead, total, total), dtype=steps[0].array.dtype)
    row = 0
    for step in steps:
        queries, keys = step.array.shape[-2:]
        if step.array.shape[:-2] != lead:
            raise UsageError(
                f"The number of sequences or heads in {file} changes from step to step.",
                "Record the attention of a single sequence without beam search.",
            )
        if keys != row + queries or keys > total:
            raise UsageError(
                f"{step.key} in {file} has {counted(queries, 'query', 'queries')} and {counted(keys, 'key')} after "
                f"{counted(row, 'token')}: a step is missing.",
                _HINT,
            )
        whole[..., row:keys, :keys] = step.array
        row = keys
    return Numbered(steps[0].key, whole, numbers, steps[0].prompt)
