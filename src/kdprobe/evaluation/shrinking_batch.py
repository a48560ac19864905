"""Decoding in which a row leaves the batch as soon as it has ended.

`generate` keeps finished rows in the batch until the last row ends, and every step computes all of them. Here a step
computes only the unfinished rows. The class plugs into `generate` as `custom_generate`, so the library prepares
prompts, processors, stopping criteria and cache; only the loop is ours. It follows `GenerationMixin._sample` of
transformers 5.23 and writes the same tokens up to rounding: sums over a smaller batch may differ in their last bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, LogitsProcessor, StoppingCriteria

from kdprobe.errors import NonFiniteError

_PER_ROW = ("attention_mask", "position_ids", "token_type_ids")
"""What the library stores for each row besides the cache."""


class ShrinkingBatch:
    """Decodes a batch greedily or by sampling; pass it to `generate` as `custom_generate`.

    Processors and stopping criteria see the whole batch, because some keep state per row; the model does not.

    Attributes:
        lengths: After a batch, the number of tokens of each row, including its end.

    Args:
        on_step: Called after each step with the number of new tokens.
        draw: Draws a token for each unfinished row, from scores `[rows, V]` and the rows' indices in the batch; by
            default, all from torch's global generator.
    """

    def __init__(
        self, on_step: Callable[[int], None] = lambda _: None, draw: Callable[[Tensor, Tensor], Tensor] | None = None
    ) -> None:
        self.lengths: list[int] = []
        self._on_step, self._draw = on_step, draw or _multinomial

    def __call__(
        self,
        model: Any,
        input_ids: Tensor,
        logits_processor: Any,
        stopping_criteria: Any,
        generation_config: Any,
        **model_kwargs: Any,
    ) -> Tensor:
        """Decodes a batch.

        Args:
            model: A decoder-only model.
            input_ids: Prompts `[batch, prompt]`, padded on the left.
            logits_processor: The library's, prepared from the generation configuration.
            stopping_criteria: The library's, prepared from the generation configuration.
            generation_config: With `do_sample` and the padding token.
            model_kwargs: Mask, positions and cache, as the library prepared them.

        Returns:
            Token ids `[batch, prompt + longest response]`; after the end of a row there is padding.

        Raises:
            NonFiniteError: The logits of an unfinished row are NaN or infinite.
        """
        # Passed even if there is nothing to synchronise.
        model_kwargs.pop("synced_gpus", None)
        pad = int(generation_config._pad_token_tensor)  # noqa: SLF001 - the only place with the resolved token
        rows, width = input_ids.shape
        alive = torch.arange(rows, device=input_ids.device)
        self.lengths = [0] * rows
        # The cache may already hold the first columns of the prompts.
        unread = width - model_kwargs["past_key_values"].get_seq_length()
        inputs = model.prepare_inputs_for_generation(
            input_ids, next_sequence_length=unread, is_first_iteration=True, **model_kwargs
        )
        while True:
            outputs = model(**inputs, return_dict=True)
            model_kwargs = model._update_model_kwargs_for_generation(outputs, model_kwargs)  # noqa: SLF001
            scores = outputs.logits[:, -1].to(copy=True, dtype=torch.float32)
            del outputs
            refuse_non_finite(scores, input_ids.shape[1] - width + 1)
            if logits_processor:
                all_scores = scores.new_zeros(rows, scores.shape[1]).index_copy_(0, alive, scores)
                scores = logits_processor(input_ids, all_scores)[alive]
            chosen = self._draw(scores, alive) if generation_config.do_sample else scores.argmax(-1)
            written = input_ids.new_full((rows,), pad).index_copy_(0, alive, chosen)
            input_ids = torch.cat([input_ids, written[:, None]], dim=-1)
            self._on_step(len(alive))
            ended = stopping_criteria(input_ids, None)[alive]
            if ended.any():
                for row in alive[ended].tolist():
                    self.lengths[row] = input_ids.shape[1] - width
                stay = (~ended).nonzero()[:, 0]
                if not len(stay):
                    return input_ids
                alive = alive[stay]
                _keep(model_kwargs, stay)
            inputs = model.prepare_inputs_for_generation(input_ids[alive], next_sequence_length=1, **model_kwargs)


def _multinomial(scores: Tensor, _rows: Tensor) -> Tensor:
    return torch.multinomial(scores.softmax(-1), num_samples=1)[:, 0]


def refuse_non_finite(scores: Tensor, token: int) -> None:
    """Rejects scores `[batch, V]` from which no token can be chosen; -inf is allowed and rules a token out.

    Raises:
        NonFiniteError: A score is NaN or +inf, or all of a row are -inf.
    """
    if not scores.amax(dim=-1).isfinite().all():
        raise NonFiniteError(f"The model's logits are NaN or infinite at token {token} of an answer.")


class FiniteLogits(LogitsProcessor):  # type: ignore[misc]  # transformers is untyped
    """The same check for decoding by the library's own loop.

    Args:
        prompt: Number of prompt columns.
    """

    def __init__(self, prompt: int) -> None:
        self._prompt = prompt

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Passes the scores on unchanged."""
        refuse_non_finite(scores, input_ids.shape[1] - self._prompt + 1)
        return scores


class StopTexts(StoppingCriteria):  # type: ignore[misc]  # transformers is untyped
    """Ends a row whose response contains a stop text; lm-eval's own criterion only says when all rows have ended.

    Args:
        tokenizer: The model's tokenizer.
        texts: The stop texts.
        prompt: Number of prompt columns.
    """

    def __init__(self, tokenizer: Any, texts: Sequence[str], prompt: int) -> None:
        self._tokenizer, self._texts, self._prompt = tokenizer, list(texts), prompt
        # A response may spell a text with more tokens than the tokenizer would, hence the margin.
        self._tokens = max(len(tokenizer.encode(text, add_special_tokens=False)) for text in texts) + 2

    def __call__(self, input_ids: Tensor, _scores: Any, **_kwargs: Any) -> Tensor:
        """Whether each row has ended, `[batch]`."""
        tails = input_ids[:, max(self._prompt, input_ids.shape[1] - self._tokens) :]
        decoded = self._tokenizer.batch_decode(tails)
        ended = [any(text in tail for text in self._texts) for tail in decoded]
        return torch.tensor(ended, device=input_ids.device)


def can_shrink(model: Any) -> bool:
    """Whether rows can leave the cache with which the model decodes, one token per row and step."""
    settings = model.generation_config
    if model.config.is_encoder_decoder or settings.cache_implementation is not None or (settings.num_beams or 1) > 1:
        return False
    layers = DynamicCache(config=model.config).layers
    return all(hasattr(layer, "batch_select_indices") for layer in layers)


def _keep(model_kwargs: dict[str, Any], rows: Tensor) -> None:
    """Keeps only some rows in everything that the next step reads."""
    for name in _PER_ROW:
        if model_kwargs.get(name) is not None:
            # In three-dimensional positions, rows are the second dimension.
            axis = model_kwargs[name].dim() - 2
            model_kwargs[name] = model_kwargs[name].index_select(axis, rows)
    for layer in model_kwargs["past_key_values"].layers:
        # Layers may be on different devices, and what they keep is where they are.
        device = getattr(layer, "device", None)
        layer.batch_select_indices(rows if device is None else rows.to(device))
