"""Log-probabilities from an engine, checked to be of the tokens that were asked for."""

from __future__ import annotations

from collections.abc import Sequence

from kdprobe.errors import KdprobeError
from kdprobe.evaluation.engines.engine import EngineStudent, Scored
from kdprobe.teachers.teacher import Passage


def scores(student: EngineStudent, passages: Sequence[Passage]) -> list[Scored]:
    """The log-probabilities of passages, in order.

    Raises:
        NonFiniteError: One is NaN or infinite.
        KdprobeError: The engine violates its contract.
    """
    found = student.score(passages)
    expected = [len(passage.token_ids) for passage in passages]
    if [len(scored.log_p) for scored in found] != expected:
        raise KdprobeError(
            f"The engine returned log-probabilities for {sum(len(scored.log_p) for scored in found)} of "
            f"{sum(expected)} tokens.",
            "This is a bug in its plugin; use the engine 'transformers'.",
        )
    if student.model is None and any(scored.greedy is None for scored in found):
        raise KdprobeError(
            "The engine does not say whether the scored tokens are the most likely ones.",
            "This is a bug in its plugin; use the engine 'transformers'.",
        )
    return found
