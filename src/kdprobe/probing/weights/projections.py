"""Which rows of which weights are the queries, keys, values and outputs of every head.

Architectures store queries, keys and values in three projections or in one. A fused projection has them in blocks (all
queries, all keys, all values) or in groups (the queries that share a key-value head, then its key, then its value).
The number of key-value heads follows from the shapes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from kdprobe.errors import KdprobeError
from kdprobe.models.anatomy import anatomy
from kdprobe.models.merging.lora import own_weight

_BLOCKS = {"gpt2": "c_attn", "mpt": "Wqkv", "phi3": "qkv_proj"}
_GROUPS = {
    "bloom": "query_key_value",
    "falcon": "query_key_value",
    "gpt_bigcode": "c_attn",
    "gpt_neox": "query_key_value",
    "persimmon": "query_key_value",
}
"""The fused projection by kind of model. Those of other models may have other layouts."""
_SEPARATE = ("q_proj", "k_proj", "v_proj")


@dataclass(frozen=True)
class Projection:
    """One of a layer's four attention weights.

    Attributes:
        module: The module with this weight, or of which it is a part.
        rows: Rows of the weight `[out, in]` by query head, `[head, dim]`; columns for the output projection. Query
            heads that share a key-value head share its rows.
        is_output: Whether it is the output projection.
    """

    module: nn.Module
    rows: Tensor
    is_output: bool = False


def layer_projections(model: Any) -> Iterator[dict[str, Projection]]:
    """Yields `q`, `k`, `v` and `o` of each layer.

    Args:
        model: A plain model, or one with an adapter attached.

    Raises:
        KdprobeError: The architecture stores its attention weights in an unknown form.
    """
    parts = anatomy(model)
    kind = model.config.get_text_config().model_type
    for attention, output in zip(parts.attentions, parts.outputs, strict=True):
        weight = own_weight(output)
        width = weight.shape[1]
        found = _found(attention, kind, parts.heads, width // parts.heads)
        if found is None:
            raise KdprobeError(
                f"kdprobe cannot divide the attention weights of this architecture ({kind}) into heads: its queries, "
                "keys and values are not separate projections of the layer's input with the expected sizes.",
                "Remove the analysis.",
            )
        columns = torch.arange(width, device=weight.device).view(parts.heads, -1)
        yield {**found, "o": Projection(output, columns, is_output=True)}


def _found(attention: Any, kind: str, heads: int, size: int) -> dict[str, Projection] | None:
    """The projections of a head's queries, keys and values; `size` is the width of its values."""
    separate = [getattr(attention, name, None) for name in _SEPARATE]
    if None not in separate:
        return _separate(separate, heads, size)
    name = _BLOCKS.get(kind) or _GROUPS.get(kind, "")
    fused = getattr(attention, name, None)
    return None if fused is None else _fused(fused, heads, size, in_groups=kind in _GROUPS)


def _separate(modules: list[Any], heads: int, size: int) -> dict[str, Projection] | None:
    query_rows, key_rows, value_rows = (own_weight(module).shape[0] for module in modules)
    shared, query_size = value_rows // size, query_rows // heads
    if (query_rows, key_rows, value_rows) != (heads * query_size, shared * query_size, shared * size):
        return None
    if shared < 1 or heads % shared:
        return None
    rows = [_rows(query_rows, heads, heads), _rows(key_rows, shared, heads), _rows(value_rows, shared, heads)]
    device = own_weight(modules[0]).device
    return {name: Projection(module, row.to(device)) for name, module, row in zip("qkv", modules, rows, strict=True)}


def _fused(module: Any, heads: int, size: int, *, in_groups: bool) -> dict[str, Projection] | None:
    all_rows = own_weight(module).shape[0]
    shared = (all_rows // size - heads) // 2
    if all_rows != (heads + 2 * shared) * size or shared < 1 or heads % shared:
        return None
    numbered = torch.arange(all_rows, device=own_weight(module).device)
    if in_groups:
        groups = numbered.view(shared, heads // shared + 2, size)
        queries, keys, values = groups[:, :-2], groups[:, -2], groups[:, -1]
    else:
        queries, keys, values = torch.split(numbered.view(-1, size), [heads, shared, shared])
    repeated = [part.repeat_interleave(heads // shared, dim=0) for part in (keys, values)]
    parts = zip("qkv", [queries.reshape(heads, size), *repeated], strict=True)
    return {name: Projection(module, rows) for name, rows in parts}


def _rows(rows: int, shared: int, heads: int) -> Tensor:
    """The rows of a separate projection, `[head, dim]`."""
    return torch.arange(rows).view(shared, -1).repeat_interleave(heads // shared, dim=0)
