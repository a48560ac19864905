"""The batch size for texts that are scored: as many as fit into free memory, up to where more gain nothing."""

from __future__ import annotations

import torch

from kdprobe.errors import KdprobeError
from kdprobe.evaluation.batch_size import SHARE, free_beside
from kdprobe.models.load import LoadedModel

_LARGEST = {"cpu": 16, "cuda": 128}
_LOGITS = 3
"""Copies of the logits of a whole row in memory at once: the model's, their log-softmax, and a temporary one."""


def likelihood_batch(student: LoadedModel, longest: int) -> int:
    """The number of texts to score at once; lm-eval keeps the logits of all their tokens.

    Args:
        student: The loaded model.
        longest: Tokens of the longest text.

    Raises:
        KdprobeError: Not even one text fits into free memory.
    """
    settings = student.model.config.get_text_config()
    size = torch.finfo(student.model.dtype).bits // 8
    inner = getattr(settings, "intermediate_size", None) or 4 * settings.hidden_size
    states = (6 * settings.hidden_size + 3 * inner) * size
    row = longest * (settings.vocab_size * 4 * _LOGITS + states) + 4 * longest**2
    fits = int(free_beside(student.model) * SHARE / row)
    if not fits:
        raise KdprobeError(
            f"A text of {longest} tokens needs {row / 2**30:.1f} GiB on top of the model, more than is free.",
            "Use a smaller data type, or fewer examples in the prompt.",
        )
    return min(fits, _LARGEST["cuda" if student.device.type == "cuda" else "cpu"])
