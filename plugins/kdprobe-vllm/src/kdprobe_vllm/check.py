"""The check that vLLM's numbers are the student's: log-probabilities token by token, against transformers.

lm-eval's vLLM class once ignored LoRA without a word (lm-evaluation-harness#2432), and scores of the base look like
scores of a student. So every student is compared with the merged model before anything of it is measured.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from kdprobe.models import Dtype, LoadedModel, load_model, merge, prompt_ids
from kdprobe.students import Student

_QUESTION = "Tom has 3 apples and buys 4 more. He gives half of them to Ann. How many apples does he have left?"
_ANSWER = "Tom has 3 + 4 = 7 apples, so he keeps 7 / 2 = 3.5 apples.\n#### 3.5"
ALLOWED: dict[Dtype, float] = {"float32": 1e-3, "float16": 0.02, "bfloat16": 0.1}
"""The largest mean difference per token, in nats: many times each type's rounding error."""


@dataclass(frozen=True)
class Expected:
    """A student's numbers as transformers computes them.

    Attributes:
        loaded: The student, merged.
        ids: The tokens of a short conversation.
        log_p: Log-probability of each token but the first, given those before it, in nats.
        effect: Mean difference from the base, in nats per token; NaN unless it was asked for.
    """

    loaded: LoadedModel
    ids: list[int]
    log_p: list[float]
    effect: float


def expected_numbers(student: Student, dtype: Dtype, bases: Any, *, effect: bool = False) -> Expected:
    """Has transformers read a short conversation; on a machine with GPUs on the CPU, because vLLM takes their memory.

    Args:
        student: The student.
        dtype: Data type of the weights.
        bases: Models that this process has loaded.
        effect: Whether the student's adapter, which must be a plain LoRA, is also compared with the base.

    Raises:
        KdprobeError: The base cannot be loaded, or the adapter does not fit it.
    """
    base = _base(student, dtype, bases)
    ids = short_conversation(student.load_tokenizer())
    # Before merging, which consumes the base.
    of_base = _log_p(base, ids) if effect else None
    merged = merge(base, student.adapter) if student.adapter else base
    log_p = _log_p(merged, ids)
    return Expected(merged, ids, log_p, mean_difference(of_base, log_p) if of_base else math.nan)


def short_conversation(tokenizer: Any) -> list[int]:
    """The token ids that vLLM and transformers both read."""
    ids = prompt_ids(tokenizer, [{"role": "user", "content": _QUESTION}])
    return [*ids, *tokenizer.encode(_ANSWER, add_special_tokens=False)]


def _base(student: Student, dtype: Dtype, bases: Any) -> LoadedModel:
    import torch

    if torch.cuda.is_available():
        return load_model(student.base, dtype=dtype, device="cpu")
    shared: LoadedModel = bases.base(student.base, dtype=dtype)
    return shared


def mean_difference(first: list[float], second: list[float]) -> float:
    """Mean absolute difference, in nats per token."""
    return sum(abs(a - b) for a, b in zip(first, second, strict=True)) / len(first)


def _log_p(loaded: LoadedModel, ids: list[int]) -> list[float]:
    import torch

    with torch.inference_mode():
        tokens = torch.tensor([ids], device=loaded.device)
        rows = loaded.model(input_ids=tokens, use_cache=False).logits[0, :-1, : len(loaded.tokenizer)].float()
        found: list[float] = rows.log_softmax(-1).gather(1, tokens[0, 1:, None])[:, 0].tolist()
    return found
