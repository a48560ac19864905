"""Several sampled answers to each problem: their names in the ledger, their seeds, and the tokens drawn with these.

The seed of a sample depends on the protocol's seed and the number of the sample. Models that run here mix it with the
prompt and draw each row from a generator of its own, so that an answer does not depend on the other rows of its batch
(except in the last bits of its logits).
"""

from __future__ import annotations

import copy
import hashlib
from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import Any

import torch
from lm_eval.utils import hash_string
from torch import Tensor

SEED = "seed"
"""The generation argument with the seed of a sample, as servers of OpenAI's API and vLLM call it."""
_SEEDS = 2**31
_BITS = 52


class Draws:
    """The samples that are requested for each prompt.

    Args:
        seed: The protocol's seed.
        samples: Number of answers to each problem.
    """

    def __init__(self, seed: int = 0, samples: int = 1) -> None:
        first = int.from_bytes(hashlib.sha256(f"samples {seed}".encode()).digest()[:8])
        self._seeds = [(first + sample) % _SEEDS for sample in range(samples)] if samples > 1 else [None]
        self._samples = {seed: sample for sample, seed in enumerate(self._seeds)}

    def requests(self, requests: Sequence[Any]) -> list[tuple[str, Any]]:
        """Each of lm-eval's requests with the name of its answer; repetitions of a document are its samples.

        Args:
            requests: The requests. With several samples, those that are returned have seeds.
        """
        asked: Counter[int] = Counter()
        named = []
        for request in requests:
            seed = self._seeds[asked[request.doc_id] % len(self._seeds)]
            asked[request.doc_id] += 1
            if seed is not None:
                prompt, settings, *rest = request.args
                request = copy.copy(request)  # noqa: PLW2901 - lm-eval repeats the same object
                request.arguments = (prompt, {**settings, SEED: seed}, *rest)
            named.append((self.name(request.args), request))
        return named

    def name(self, arguments: Sequence[Any]) -> str:
        """The name of the answer to a request with these arguments: a prompt and settings."""
        if self._seeds == [None]:
            return str(hash_string(arguments[0]))
        return answer_name(hash_string(arguments[0]), self._samples[arguments[1][SEED]], len(self._seeds))


def answer_name(prompt_hash: str, sample: int, samples: int) -> str:
    """The name of an answer in the ledger: lm-eval's hash of its prompt, and, of several samples, the number."""
    return prompt_hash if samples == 1 else f"{prompt_hash} {sample}"


class SeededRows:
    """Draws the tokens of each row of a batch with a generator of its own.

    Args:
        seed: The seed of the sample.
        prompts: The token ids of each row's prompt.
    """

    def __init__(self, seed: int, prompts: Sequence[Sequence[int]]) -> None:
        self._rows = [Random(f"{seed} {list(prompt)}") for prompt in prompts]  # noqa: S311 - seeded on purpose

    def __call__(self, scores: Tensor, rows: Tensor) -> Tensor:
        """A token for each row, `[rows]`, by inversion of the cumulative distribution.

        Args:
            scores: Logits after temperature and nucleus, `[rows, V]`.
            rows: Which rows of the batch these are, `[rows]`.
        """
        drawn = [self._rows[row].getrandbits(_BITS) / 2**_BITS for row in rows.tolist()]
        cumulative = scores.softmax(-1).double().cumsum(-1)
        # Below the total, even after rounding: a number of this many bits is never rounded up to 1.
        points = torch.tensor(drawn, dtype=torch.float64, device=scores.device)[:, None] * cumulative[:, -1:]
        return torch.searchsorted(cumulative, points, right=True)[:, 0]
