"""Runs in vLLM's processes: captures the distribution over real tokens at every step of an answer.

vLLM calls it after it has computed its own log-probabilities and before it chooses tokens. Only its model runner V1 has
this interface.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from torch import Tensor
from vllm import SamplingParams
from vllm.config import VllmConfig
from vllm.distributed.parallel_state import get_tensor_model_parallel_rank
from vllm.v1.sample.logits_processor import BatchUpdate, LogitsProcessor
from vllm.v1.sample.logits_processor.builtin import process_dict_updates

from kdprobe.teachers import top_k
from kdprobe_vllm.rows import KEY, record_type


@dataclass(frozen=True)
class _Asked:
    """What is captured of a request.

    Attributes:
        output: The tokens that it has written so far; vLLM adds to this list.
        request: Its number in the file.
        file: Where its records are appended; all concurrent requests share it, and k, temperatures and vocabulary.
        k: Number of largest log-probabilities.
        temperatures: Temperatures of the tails.
        vocabulary: Number of real token ids.
        forced: The tokens that it has to write, or `None` if it may choose.
    """

    output: list[int]
    request: int
    file: str
    k: int
    temperatures: list[float]
    vocabulary: int
    forced: list[int] | None = None


class Capture(LogitsProcessor):  # type: ignore[misc]  # vLLM is in another environment
    """Appends a record per step and request to a file, rules out ids that no token has, and forces given tokens."""

    def __init__(self, vllm_config: VllmConfig, device: torch.device, is_pin_memory: bool) -> None:
        del vllm_config, device, is_pin_memory
        self._asked: dict[int, _Asked] = {}
        self._file: BinaryIO | None = None

    def is_argmax_invariant(self) -> bool:
        """False, so that vLLM also calls this for greedy requests."""
        return False

    def update_state(self, batch_update: BatchUpdate | None) -> None:
        """Follows the requests to their rows."""
        process_dict_updates(self._asked, batch_update, _asked)

    def apply(self, logits: Tensor) -> Tensor:
        """Captures a step: raw logits `[requests, ids]` in float32, changed in place."""
        if not self._asked:
            return logits
        indices = sorted(self._asked)
        asked = [self._asked[index] for index in indices]
        # Processes that share the layers compute the same logits.
        if get_tensor_model_parallel_rank() == 0:
            self._append(asked, logits[indices])
        for index, one in zip(indices, asked, strict=True):
            logits[index, one.vocabulary :] = -torch.inf
            if one.forced is not None and len(one.output) < len(one.forced):
                logits[index] = -torch.inf
                logits[index, one.forced[len(one.output)]] = 0.0
        return logits

    def _append(self, asked: list[_Asked], logits: Tensor) -> None:
        first = asked[0]
        real = logits[:, : first.vocabulary]
        k = min(first.k, real.shape[-1])
        cut = top_k(real, k, tuple(first.temperatures))
        records: np.ndarray[Any, Any] = np.empty(len(asked), record_type(k, len(first.temperatures)))
        records["request"] = [one.request for one in asked]
        records["position"] = [len(one.output) for one in asked]
        records["real"] = (cut.normaliser - logits.logsumexp(dim=-1)).cpu()
        records["ids"] = cut.ids.cpu()
        records["logprobs"] = cut.logprobs.cpu()
        records["tails"] = cut.tails.T.cpu()
        if self._file is None or self._file.name != first.file:
            if self._file is not None:
                self._file.close()
            self._file = Path(first.file).open("ab", buffering=0)  # noqa: SIM115 - stays open between steps
        self._file.write(records.tobytes())


def _asked(params: SamplingParams, _prompt: list[int] | None, output: list[int]) -> _Asked | None:
    asked = (params.extra_args or {}).get(KEY)
    return _Asked(output, **asked) if asked else None
