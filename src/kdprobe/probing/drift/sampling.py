"""Samples at temperature 1 from the whole distribution, independent of how prompts are batched.

Each token is drawn by inverting the cumulative distribution at a random number that belongs to the prompt, the sample
and the position. Text therefore does not depend on what else is in its batch, and students with similar distributions
write much the same text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from kdprobe.console import progress
from kdprobe.errors import UsageError
from kdprobe.evaluation.shrinking_batch import FiniteLogits, ShrinkingBatch, can_shrink
from kdprobe.models.batching import batches, left_padded
from kdprobe.models.forward.decoding import without_own_settings
from kdprobe.models.load import LoadedModel
from kdprobe.models.outline.blueprint import context_length
from kdprobe.models.turn import up_to_end
from kdprobe.probing.drift.prompts import KINDS, Prompt


@dataclass(frozen=True)
class Sample:
    """What a model wrote after a prompt.

    Attributes:
        prompt: The prompt.
        index: Which of several samples after this prompt, from 0.
        tokens: Token ids, including the end of turn if it was written; at least one.
        finished: Whether the model ended its turn; otherwise it was cut off.
    """

    prompt: Prompt
    index: int
    tokens: tuple[int, ...]
    finished: bool

    @property
    def empty(self) -> bool:
        """Whether there is nothing but the end of turn."""
        return self.finished and len(self.tokens) == 1


def draw_samples(
    model: LoadedModel,
    prompts: Sequence[Prompt],
    *,
    samples: int,
    max_new_tokens: int,
    seed: int,
    batch_size: int,
    label: str,
) -> list[Sample]:
    """Samples text at temperature 1 after each prompt.

    Args:
        model: The model.
        prompts: The prompts.
        samples: Samples per prompt.
        max_new_tokens: Token budget of a sample.
        seed: Seed of the random numbers, which are the same for all models.
        batch_size: Samples generated at once.
        label: Label of the progress bar.

    Returns:
        The samples in the order of the prompts.

    Raises:
        UsageError: A prompt with its sample does not fit into the model's context.
        NonFiniteError: A logit is NaN or infinite.
    """
    _refuse_long(model, prompts, max_new_tokens)
    drawn = [(prompt, sample) for prompt in prompts for sample in range(samples)]
    results: dict[int, Sample] = {}
    with progress(label, len(drawn), unit="tok") as bar, torch.inference_mode(), without_own_settings(model):
        for indices in batches([len(prompt.ids) for prompt, _ in drawn], batch_size):
            batch = [drawn[index] for index in indices]
            random = np.stack([_random(seed, *each, max_new_tokens) for each in batch])
            bar.begin(len(batch), max_new_tokens)
            written = _decode(model, batch, random, bar.within)
            for index, (prompt, sample), ids in zip(indices, batch, written, strict=True):
                tokens, finished = up_to_end(ids, model.eos_ids)
                results[index] = Sample(prompt, sample, tuple(tokens), finished)
            bar.advance(len(batch), work=sum(len(results[index].tokens) for index in indices))
    return [results[index] for index in range(len(drawn))]


class InverseTransform(LogitsProcessor):  # type: ignore[misc]  # transformers is untyped
    """Draws each row's next token and rules out all others, so that greedy decoding takes it.

    Args:
        random: Random numbers in [0, 1), `[row, step]`.
        prompt: Number of prompt columns.
        vocabulary: The number of real token ids; no other is drawn.
    """

    def __init__(self, random: np.ndarray[Any, np.dtype[np.float64]], prompt: int, vocabulary: int) -> None:
        self._random, self._prompt, self._vocabulary = torch.from_numpy(random), prompt, vocabulary

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores `[row, V]` that are 0 for the drawn token and minus infinity for the others."""
        # On the CPU: sums of this many terms need float64, which not every accelerator has.
        p = scores[:, : self._vocabulary].cpu().double().softmax(dim=-1)
        cumulative = p.cumsum(dim=-1)
        at = self._random[:, input_ids.shape[1] - self._prompt, None] * cumulative[:, -1:]
        drawn = torch.searchsorted(cumulative, at, right=True).clamp_max(p.shape[1] - 1)
        return torch.full_like(scores, -torch.inf).scatter_(1, drawn.to(scores.device), 0.0)


def _decode(model: LoadedModel, batch: Sequence[tuple[Prompt, int]], random: Any, on_step: Any) -> list[list[int]]:
    pad = model.tokenizer.pad_token_id
    ids, mask = left_padded([prompt.ids for prompt, _ in batch], pad, model.device)
    width = ids.shape[1]
    processors = [InverseTransform(random, width, len(model.tokenizer))]
    shrinks = can_shrink(model.model)
    sequences = model.model.generate(
        input_ids=ids,
        attention_mask=mask,
        generation_config=GenerationConfig(
            max_new_tokens=random.shape[1], do_sample=False, eos_token_id=sorted(model.eos_ids), pad_token_id=pad
        ),
        logits_processor=LogitsProcessorList(processors if shrinks else [FiniteLogits(width), *processors]),
        **({"custom_generate": ShrinkingBatch(on_step)} if shrinks else {}),
    )
    written: list[list[int]] = sequences[:, width:].tolist()
    return written


def _random(seed: int, prompt: Prompt, sample: int, steps: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.random.default_rng([seed, KINDS.index(prompt.kind), prompt.index, sample]).random(steps)


def _refuse_long(model: LoadedModel, prompts: Sequence[Prompt], max_new_tokens: int) -> None:
    longest = max(prompts, key=lambda prompt: len(prompt.ids))
    context = context_length(model.model.config)
    if context is not None and len(longest.ids) + max_new_tokens > context:
        raise UsageError(
            f"The prompt {longest.id!r} has {len(longest.ids)} tokens; with up to {max_new_tokens} new ones, that "
            f"exceeds the model's context of {context} tokens.",
            "Lower the option max_new_tokens, or leave out long problems.",
        )
