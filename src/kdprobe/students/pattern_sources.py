"""Reads attention patterns from Hugging Face's attention modules, or from the hooks of TransformerLens.

Both show every layer's pattern once, in order, and stop after the last, because the rest of the pass is not needed.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from kdprobe.errors import KdprobeError
from kdprobe.models.anatomy import anatomy
from kdprobe.models.devices.spread import input_device
from kdprobe.models.forward.prefix import separable

_AXES = 4

Visit = Callable[[int, Tensor], None]
"""Receives the layer and its pattern for the whole batch, `[batch, head, query, key]`, on the device of the ids."""


@dataclass(frozen=True)
class Twins:
    """One student as two models that share their weights.

    Attributes:
        model: The Hugging Face model, with eager attention.
        bridge: A `TransformerBridge`.
    """

    model: Any
    bridge: Any


@dataclass(frozen=True)
class Prefix:
    """The common prefix of all sequences, read once: chat templates begin every conversation the same way.

    Attributes:
        length: Length in tokens.
        patterns: The pattern of every layer, `[1, head, length, length]`.
        cache: Keys and values, in Hugging Face's format.
    """

    length: int
    patterns: Sequence[Tensor]
    cache: Any


class Show(Protocol):
    """One of the functions below."""

    def __call__(self, twins: Twins, ids: Tensor, mask: Tensor, visit: Visit, prefix: Prefix | None = None) -> None:
        """Shows the patterns of a batch."""


class _Seen(Exception):  # noqa: N818 - nothing went wrong
    """The last pattern was shown."""


def read_prefix(twins: Twins, ids: Sequence[int]) -> Prefix | None:
    """Reads as much of a common prefix as every layer's cache can hold; `None` if nothing is left."""
    model = twins.model
    ids = separable(model.config.get_text_config(), ids)
    if not ids:
        return None
    tokens = torch.tensor([list(ids)], device=input_device(model))
    output = model(input_ids=tokens, use_cache=True, output_attentions=True)
    cache = getattr(output, "past_key_values", None)
    return Prefix(len(ids), output.attentions, cache) if hasattr(cache, "batch_repeat_interleave") else None


def in_hugging_face(twins: Twins, ids: Tensor, mask: Tensor, visit: Visit, prefix: Prefix | None = None) -> None:
    """Reads patterns from Hugging Face: faster, because it runs no unused hooks and reads a prefix only once.

    Args:
        twins: The student.
        ids: Token ids, `[batch, position]`.
        mask: 1 for real tokens, of the same shape.
        visit: Called for each layer, with a tensor that belongs to the model.
        prefix: The common prefix of all rows, if it was read before; padding must then be on the right.

    Raises:
        KdprobeError: The attention modules cannot be found, or return no patterns.
    """
    attentions = anatomy(twins.model).attentions
    positions = (mask.cumsum(dim=-1) - 1).clamp_min(0)
    arguments: dict[str, Any] = {"use_cache": False}
    start = 0
    if prefix is not None:
        start = prefix.length
        cache = copy.deepcopy(prefix.cache)
        cache.batch_repeat_interleave(len(ids))
        arguments = {"use_cache": True, "past_key_values": cache}
    # Counted from the first real token, if the model accepts positions.
    if "position_ids" in inspect.signature(twins.model.forward).parameters:
        arguments["position_ids"] = positions[:, start:]

    def show(layer: int, output: Any) -> None:
        pattern = _pattern(output).to(ids.device)
        visit(layer, pattern if prefix is None else _all_rows(prefix.patterns[layer], pattern))
        if layer == len(attentions) - 1:
            raise _Seen

    with ExitStack() as stack:
        for layer, module in enumerate(attentions):
            handle = module.register_forward_hook(lambda _module, _inputs, output, layer=layer: show(layer, output))
            stack.callback(handle.remove)
        try:
            twins.model(input_ids=ids[:, start:], attention_mask=mask, **arguments)
        except _Seen:
            return


def in_transformer_lens(
    twins: Twins,
    ids: Tensor,
    mask: Tensor,
    visit: Visit,
    prefix: Prefix | None = None,  # noqa: ARG001 - the prefix is simply read again
) -> None:
    """Reads patterns from TransformerLens, for every architecture it supports; arguments as in `in_hugging_face`."""
    from transformer_lens.model_bridge.exceptions import StopAtLayerException

    layers = range(twins.bridge.cfg.n_layers)

    def show(pattern: Tensor, hook: Any) -> None:
        visit(hook.layer(), pattern.to(ids.device))
        if hook.layer() == layers[-1]:
            # The exception TransformerLens itself uses to stop early.
            raise StopAtLayerException(pattern)

    hooks = [(pattern_hook(layer), show) for layer in layers]
    twins.bridge.run_with_hooks(ids, attention_mask=mask, fwd_hooks=hooks, return_type=None, use_cache=False)


def pattern_hook(layer: int) -> str:
    """TransformerLens's name for the hook of a layer's attention pattern."""
    return f"blocks.{layer}.attn.hook_pattern"


def _pattern(output: Any) -> Tensor:
    pattern = output[1] if isinstance(output, tuple) and len(output) > 1 else None
    if not isinstance(pattern, Tensor) or pattern.dim() != _AXES:
        raise KdprobeError("The attention modules of this architecture return no patterns.")
    return pattern


def _all_rows(prefix: Tensor, rest: Tensor) -> Tensor:
    """The rows of all queries: those of the prefix, `[1, head, length, length]`, followed by the rest."""
    prefix_rows = nn.functional.pad(prefix, (0, rest.shape[2])).expand(len(rest), -1, -1, -1)
    return torch.cat([prefix_rows, rest], dim=2)
