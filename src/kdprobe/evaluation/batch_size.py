"""Chooses the batch size: as many problems as fit into free memory, up to where throughput stops improving.

Most of a row's memory is its keys and values. Their size differs between architectures, so it is measured in the cache
of one short forward pass; the rest follows from the shapes.
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
from kdprobe.models.devices.spread import devices_of
from kdprobe.models.load import LoadedModel

_LARGEST = {"cpu": 64, "cuda": 256}
"""Larger batches gain little (benchmarks/evaluation.py), and lose more if the evaluation is interrupted."""
_FEWEST, _SMALLEST = 2, 16
"""At least 2 batches if each would have at least 16 rows, because an interruption costs the current batch."""
SHARE = 0.7
"""Share of the free memory to use: allocators leave gaps, and other programs need memory too."""
_LOGITS = 4
"""Float32 rows of the vocabulary in memory at once: the model's logits, a copy, processed logits, and probabilities."""


@dataclass(frozen=True)
class BatchPlan:
    """A batch size, and the numbers behind it.

    Attributes:
        size: Number of rows.
        row_bytes: Memory of a row with the longest prompt and the longest possible answer.
        free_bytes: Free memory.
    """

    size: int
    row_bytes: int
    free_bytes: int


def plan_batches(student: LoadedModel, prompts: Sequence[Sequence[int]], new_tokens: int) -> BatchPlan:
    """Chooses the batch size for some prompts.

    Args:
        student: The loaded model.
        prompts: Token ids of all prompts.
        new_tokens: The token budget of an answer.

    Raises:
        KdprobeError: Not even one answer fits into free memory.
    """
    needed = row_bytes(student, max(prompts, key=len), new_tokens)
    free = free_beside(student.model)
    fits = int(free * SHARE / needed)
    if not fits:
        raise KdprobeError(
            f"One answer needs up to {needed / 2**30:.1f} GiB on top of the model, but only {free / 2**30:.1f} GiB "
            "is free.",
            "Lower the token budget, or use a smaller data type.",
        )
    largest = min(fits, _LARGEST["cuda" if student.device.type == "cuda" else "cpu"])
    # Batches of equal size, because a last batch of a few rows takes nearly as long as a full one.
    batches = max(math.ceil(len(prompts) / largest), min(_FEWEST, len(prompts) // _SMALLEST))
    return BatchPlan(math.ceil(len(prompts) / batches), needed, free)


def row_bytes(student: LoadedModel, prompt: Sequence[int], new_tokens: int) -> int:
    """Bytes per row in decoding, for the longest prompt and an answer that uses its whole budget."""
    ids = torch.tensor([list(prompt)], device=student.device)
    with torch.inference_mode():
        outputs = student.model(input_ids=ids, use_cache=True, **_last_row(student.model))
    width, size = len(prompt), torch.finfo(student.model.dtype).bits // 8
    settings = student.model.config.get_text_config()
    hidden = settings.hidden_size
    cache = _tensors(outputs.get("past_key_values"))
    # If nothing can be measured, assume that every layer keeps keys and values of its full width.
    token_bytes = (
        sum(part.nbytes for part in cache) / width if cache else 2 * settings.num_hidden_layers * hidden * size
    )
    cached = token_bytes * (width + new_tokens)
    inner = getattr(settings, "intermediate_size", None) or 4 * hidden
    # The pass over the prompt holds one layer at a time: its states, their projections, and the mask.
    prompt_pass = width * (6 * hidden + 3 * inner) * size + 4 * width**2
    rows = 1 if _last_row(student.model) else width
    logits = rows * settings.vocab_size * 4 * _LOGITS
    return int(cached + prompt_pass + logits)


def free_beside(model: Any) -> int:
    """Free memory on the fullest of a model's devices.

    A row takes less there than `row_bytes` if layers are spread over several; which of them has how much is not known.
    """
    return min(map(free_bytes, devices_of(model)))


def free_bytes(device: torch.device) -> int:
    """Free memory on the device; for a CPU, of the machine, within the limit of a container."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0] + unused)
    return min(int(psutil.virtual_memory().available), _container_bytes(Path("/sys/fs/cgroup")))


def _container_bytes(group: Path) -> int:
    """Memory a container may still use; larger than any machine's if there is no limit."""
    try:
        limit, used = ((group / name).read_text().strip() for name in ("memory.max", "memory.current"))
        return int(limit) - int(used)
    except (OSError, ValueError):
        return 2**63


def _last_row(model: Any) -> dict[str, int]:
    """The argument for logits of the last position only, if the model supports it; `generate` uses it too."""
    return {"logits_to_keep": 1} if model._supports_logits_to_keep() else {}  # noqa: SLF001 - as in `generate`


def _tensors(cache: Any) -> list[Tensor]:
    """The tensors of a cache; empty for an unknown type of cache."""
    layers = getattr(cache, "layers", [])
    return [value for layer in layers for value in vars(layer).values() if isinstance(value, Tensor)]
