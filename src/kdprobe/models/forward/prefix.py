"""The common beginning of the sequences of a batch, read once: chat templates begin every conversation the same way.

A causal model reads the first tokens of a sequence without regard to what follows, so their keys and values can be
computed for one row and lent to the others. Results are the same up to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

from kdprobe.models.batching import common_prefix
from kdprobe.models.devices.spread import input_device

_LEAST = 128
"""Tokens that must be saved for a pass of its own to be worth it."""


class _Lent(DynamicLayer):  # type: ignore[misc]  # transformers is untyped
    """Keys and values that a pass reads and does not add to, so that it stores nothing."""

    def update(self, key_states: Tensor, value_states: Tensor, *_args: Any, **_kwargs: Any) -> tuple[Tensor, Tensor]:
        """The layer's keys and values followed by new ones, which are forgotten."""
        return torch.cat([self.keys, key_states], dim=-2), torch.cat([self.values, value_states], dim=-2)


@dataclass(frozen=True)
class Prefix:
    """A prefix that was read.

    Attributes:
        length: Its number of tokens.
        layers: The keys and values of each layer, each `[1, head, length, width]`.
        config: The model's configuration.
    """

    length: int
    layers: Sequence[tuple[Tensor, Tensor]]
    config: Any

    def lent(self, rows: int) -> DynamicCache:
        """A cache for one pass over what follows, for sequences padded on the right; it keeps nothing of that pass."""
        cache = DynamicCache()
        for keys, values in self.layers:
            layer = _Lent()
            layer.lazy_initialization(keys, values)
            layer.keys, layer.values = (states.expand(rows, -1, -1, -1) for states in (keys, values))
            cache.layers.append(layer)
        return cache

    def begun(self, padding: Tensor) -> DynamicCache:
        """A cache with the first `length` columns of a batch, for `generate`.

        Args:
            padding: Number of padding tokens on the left of each row, `[batch]`. In a row with padding, the cache ends
                that many tokens before the prefix does. The keys of padding are those of the first token: finite, and
                masked.
        """
        columns = torch.arange(self.length, device=padding.device)
        tokens = (columns - padding[:, None]).clamp(min=0)
        cache = DynamicCache(config=self.config)
        for index, states in enumerate(self.layers):
            # Each layer's on its own device.
            keys, values = (each[0][:, tokens.to(each.device)].transpose(0, 1).contiguous() for each in states)
            cache.update(keys, values, index)
        return cache


@torch.no_grad()
def read_common_prefix(model: Any, sequences: Sequence[Sequence[int]]) -> Prefix | None:
    """Reads the common prefix of the sequences of a batch; at least one token of each remains after it.

    Args:
        model: A causal language model; nothing here has gradients.
        sequences: Token ids. For sequences that continue prompts, pass the prompts.

    Returns:
        The prefix, or `None` if reading it once saves too little, or the model does more than keep the keys and values
        of each token.
    """
    shared = separable(model.config.get_text_config(), common_prefix(sequences))
    return read_prefix(model, shared) if len(shared) * (len(sequences) - 1) >= _LEAST else None


@torch.no_grad()
def read_prefix(model: Any, shared: Sequence[int]) -> Prefix | None:
    """Reads the beginning of a sequence, for passes over what follows.

    Args:
        model: As for `read_common_prefix`.
        shared: Its token ids, at least one; no more than `separable` allows.

    Returns:
        The prefix, or `None` if the model does more than keep the keys and values of each token.
    """
    ids = torch.tensor([list(shared)], device=input_device(model))
    cache = getattr(model(input_ids=ids, use_cache=True, logits_to_keep=1), "past_key_values", None)
    layers = getattr(cache, "layers", ())
    if not layers or not all(type(layer) in {DynamicLayer, DynamicSlidingWindowLayer} for layer in layers):
        return None
    states = [(layer.keys, layer.values) for layer in layers]
    if any(keys is None or keys.shape[-2] != len(shared) for keys, _ in states):
        return None
    return Prefix(len(shared), states, model.config)


@torch.no_grad()
def logits_once(model: Any, ids: Tensor, mask: Tensor, keep: Tensor) -> Tensor:
    """Logits at some positions of sequences padded on the right, with their common prefix read once.

    Args:
        model: As for `read_common_prefix`.
        ids: Token ids, `[batch, position]`.
        mask: 1 for real tokens, of the same shape.
        keep: The positions, ascending, `[kept]`.

    Returns:
        `[batch, kept, V]`; hidden states instead of logits if the model's head is detached.
    """
    # The first kept position is read with what follows it.
    begun = int(keep[0]) + 1 if len(keep) else 0
    prefix = read_common_prefix(model, ids[:, :begun].tolist()) if mask[:, :begun].all() else None
    if prefix is None:
        output = model(input_ids=ids, attention_mask=mask, logits_to_keep=keep, use_cache=False)
    else:
        output = model(
            input_ids=ids[:, prefix.length :],
            attention_mask=mask,
            past_key_values=prefix.lent(len(ids)),
            logits_to_keep=keep - prefix.length,
            use_cache=True,
        )
    logits: Tensor = output.logits
    return logits


def separable(config: Any, ids: Sequence[int]) -> Sequence[int]:
    """As much of a prefix as can be read apart from what follows it, for any model of this configuration."""
    # A layer with a window drops keys that are further back.
    for window in (getattr(config, name, None) for name in ("sliding_window", "attention_chunk_size")):
        ids = ids[: window - 1] if window else ids
    return [] if _depends_on_length(config) else ids


def _depends_on_length(config: Any) -> bool:
    """Whether a longer sequence changes how its first tokens are read: some models adapt their rotary embedding."""
    rope = getattr(config, "rope_parameters", None) or {}
    kinds = [rope.get("rope_type"), *(kind.get("rope_type") for kind in rope.values() if isinstance(kind, dict))]
    return any(kind in {"dynamic", "longrope"} for kind in kinds)
