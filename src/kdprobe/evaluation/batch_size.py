"""How many problems to decode at once: as many as the memory holds that is free now, up to where throughput is flat.

What a row takes is mostly its keys and values. How many bytes these are differs between architectures, so they are
counted in the cache of one short forward pass; the rest follows from the shapes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor

from kdprobe.errors import KdprobeError
from kdprobe.models.load import LoadedModel

_LARGEST = {"cpu": 64, "cuda": 256}
"""Beyond this a batch gains little (benchmarks/evaluation.py), and more is lost when the evaluation is killed."""
_FEWEST, _SMALLEST = 2, 16
"""There are so many batches where they have so many rows: a kill costs the batch that it falls into."""
_SHARE = 0.7
"""Of the free memory that may be planned: allocators leave gaps, and other programs want some."""
_LOGITS = 4
"""Rows of the vocabulary that live at once, in float32: as the model gives them, copied, processed, and as shares."""


@dataclass(frozen=True)
class BatchPlan:
    """How many rows are decoded at once, and why.

    Attributes:
        size: Rows.
        row_bytes: What a row takes, prompt and answer as long as can be.
        free_bytes: What was free.
    """

    size: int
    row_bytes: int
    free_bytes: int


def plan_batches(student: LoadedModel, prompts: Sequence[Sequence[int]], new_tokens: int) -> BatchPlan:
    """Chooses the batch size for some prompts.

    Args:
        student: The model, loaded.
        prompts: Token ids of all prompts.
        new_tokens: The budget of an answer.

    Raises:
        KdprobeError: Not even one answer fits into the memory that is free.
    """
    needed = row_bytes(student, max(prompts, key=len), new_tokens)
    free = free_bytes(student.device)
    fits = int(free * _SHARE / needed)
    if not fits:
        raise KdprobeError(
            f"One answer takes up to {needed / 2**30:.1f} GiB beside the model, and {free / 2**30:.1f} GiB are free.",
            "Lower the token budget, or use a smaller data type.",
        )
    largest = min(fits, _LARGEST["cuda" if student.device.type == "cuda" else "cpu"])
    # Batches of one size: a last one of a few rows takes nearly as long as a full one.
    batches = max(math.ceil(len(prompts) / largest), min(_FEWEST, len(prompts) // _SMALLEST))
    return BatchPlan(math.ceil(len(prompts) / batches), needed, free)


def row_bytes(student: LoadedModel, prompt: Sequence[int], new_tokens: int) -> int:
    """Bytes that decoding takes per row, for the longest prompt and an answer that uses its whole budget."""
    ids = torch.tensor([list(prompt)], device=student.device)
    with torch.inference_mode():
        outputs = student.model(input_ids=ids, use_cache=True, **_last_row(student.model))
    width, size = len(prompt), torch.finfo(student.model.dtype).bits // 8
    settings = student.model.config.get_text_config()
    hidden = settings.hidden_size
    cache = _tensors(outputs.get("past_key_values"))
    # Where nothing can be counted, as if every layer kept keys and values of its whole width.
    token_bytes = (
        sum(part.nbytes for part in cache) / width if cache else 2 * settings.num_hidden_layers * hidden * size
    )
    cached = token_bytes * (width + new_tokens)
    inner = getattr(settings, "intermediate_size", None) or 4 * hidden
    # Of the pass over the prompt one layer lives at a time: its states, what they are projected to, and the mask.
    prompt_pass = width * (6 * hidden + 3 * inner) * size + 4 * width**2
    rows = 1 if _last_row(student.model) else width
    logits = rows * settings.vocab_size * 4 * _LOGITS
    return int(cached + prompt_pass + logits)


def free_bytes(device: torch.device) -> int:
    """Memory that is free now, on the device or, for a CPU, of the machine and within the limit of a container."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0] + unused)
    return min(int(psutil.virtual_memory().available), _container_bytes(Path("/sys/fs/cgroup")))


def _container_bytes(group: Path) -> int:
    """What a container may still take; more than any machine has where there is no limit."""
    try:
        limit, used = ((group / name).read_text().strip() for name in ("memory.max", "memory.current"))
        return int(limit) - int(used)
    except (OSError, ValueError):
        return 2**63


def _last_row(model: Any) -> dict[str, int]:
    """The argument for logits of the last position only, where the model knows it; `generate` gives it too."""
    return {"logits_to_keep": 1} if model._supports_logits_to_keep() else {}  # noqa: SLF001 - as `generate` asks


def _tensors(cache: Any) -> list[Tensor]:
    """The tensors that a cache consists of; none where it is of an unknown kind."""
    layers = getattr(cache, "layers", [])
    return [value for layer in layers for value in vars(layer).values() if isinstance(value, Tensor)]
