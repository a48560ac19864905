"""How much of the teacher a transfer set kept, and how good its answers are: read before any training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kdprobe.problems.answers import extract, matches
from kdprobe.problems.problem import Problem
from kdprobe.transfer.transfer_set import TransferSet


@dataclass(frozen=True)
class Fidelity:
    """Figures of one transfer set.

    Attributes:
        responses: How many.
        accuracy: Share of responses whose extracted value is the gold value.
        cut_off: Share that reached the token budget.
        mean_tokens: Mean length in tokens, end of turn included.
        retained_mass: Mean probability inside the top k at temperature 1, or `None` without log-probabilities.
        bytes_per_token: On disk, all columns and overhead.
    """

    responses: int
    accuracy: float
    cut_off: float
    mean_tokens: float
    retained_mass: float | None
    bytes_per_token: float | None


def fidelity(transfer: TransferSet, problems: Sequence[Problem]) -> Fidelity:
    """Measures a transfer set against the problems it answers."""
    responses = transfer.responses
    values = {problem.id: problem.value for problem in problems}
    right = [matches(extract(response.text), values[response.id]) for response in responses]
    tails = [response.rows.tail_logmass[1.0] for response in responses if response.rows is not None]
    return Fidelity(
        responses=len(responses),
        accuracy=float(np.mean(right)),
        cut_off=float(np.mean([not response.finished for response in responses])),
        mean_tokens=float(np.mean([len(response.token_ids) for response in responses])),
        retained_mass=float(1 - np.exp(np.concatenate(tails)).mean()) if tails else None,
        bytes_per_token=transfer.manifest.get("bytes_per_token"),
    )
