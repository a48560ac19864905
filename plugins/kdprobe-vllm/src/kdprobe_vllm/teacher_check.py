"""The check that vLLM's numbers are the teacher's, before anything is captured."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdprobe import KdprobeError
from kdprobe.models import Dtype, LoadedModel, ModelRecord, load_model
from kdprobe.students import Student
from kdprobe_vllm.check import ALLOWED, expected_numbers, mean_difference, short_conversation


@dataclass(frozen=True)
class TeacherNumbers:
    """A teacher's numbers as transformers computes them.

    Attributes:
        log_p: Log-probability of each token of the short conversation but the first, in nats.
        effect: Mean difference of these from the model's without the adapter; NaN without an adapter.
    """

    log_p: list[float]
    effect: float


class _Bases:
    """Loads a base for one use."""

    def base(self, record: ModelRecord, *, dtype: Dtype) -> LoadedModel:
        return load_model(record, dtype=dtype)


def teacher_numbers(record: ModelRecord, adapter: Path | None, dtype: Dtype) -> TeacherNumbers:
    """Has transformers read the short conversation, and releases the model.

    Raises:
        KdprobeError: transformers cannot load the model, or the adapter does not fit it.
    """
    student = Student("the teacher", record, adapter)
    expected = expected_numbers(student, dtype, _Bases(), effect=adapter is not None)
    numbers = TeacherNumbers(expected.log_p, expected.effect)
    del expected
    gc.collect()
    return numbers


def refuse_other_numbers(
    ask: Callable[[list[int], bool], list[float]],
    tokenizer: Any,
    expected: TeacherNumbers | None,
    dtype: Dtype,
    *,
    adapted: bool,
) -> None:
    """Compares vLLM's log-probabilities of the short conversation with those of transformers.

    Args:
        ask: `(token ids, whether to use the adapter) -> log-probability of each token but the first`, by vLLM.
        tokenizer: The model's tokenizer.
        expected: The numbers by transformers; without them, only whether the adapter has an effect is checked.
        dtype: Data type of the weights.
        adapted: Whether the teacher has an adapter.

    Raises:
        KdprobeError: They differ, or are those of the model without its adapter.
    """
    ids = short_conversation(tokenizer)
    found = ask(ids, True)
    if expected is None:
        if adapted and found == ask(ids, False):
            raise KdprobeError(
                "vLLM's log-probabilities are the same with the teacher's adapter as without it.",
                "Use the teacher 'transformers'.",
            )
        return
    distance = mean_difference(found, expected.log_p)
    if not distance <= ALLOWED[dtype]:
        raise KdprobeError(
            f"vLLM's log-probabilities for the teacher differ from those of transformers by {distance:.2g} nats per "
            f"token; at most {ALLOWED[dtype]:g} is allowed in {dtype}.",
            "Use the teacher 'transformers'.",
        )
    # Numbers of the model without its adapter must never pass for the teacher's.
    if adapted and not distance < expected.effect / 2:
        raise KdprobeError(
            f"vLLM's log-probabilities for the teacher differ from those of transformers by {distance:.2g} nats per "
            f"token, and the adapter changes them by only {expected.effect:.2g}: too little to tell whether vLLM uses "
            "the adapter.",
            "Use the teacher 'transformers'.",
        )
