"""Parts of attention that are in no circuit: biases, norms on queries and keys, learned sinks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from kdprobe.models.anatomy import Anatomy, anatomy
from kdprobe.probing.weights.projections import layer_projections

_BIASES = "biases of the projections"
_NORMS_OF_LAYERS = "norms of the layers"


def uncounted(model: Any) -> list[str]:
    """What a model's attention has besides the four weights of each layer."""
    return list(dict.fromkeys(kind for kind, _ in _parts(model) if kind != _NORMS_OF_LAYERS))


def uncounted_changes(before: Any, after: Any) -> list[str]:
    """What of that, and of the norms of the layers, training changed."""
    pairs = zip(_parts(before), _parts(after), strict=True)
    return list(dict.fromkeys(kind for (kind, old), (_, new) in pairs if not old.equal(new)))


def trained_biases(model: Any, adapter: str) -> list[str]:
    """The same for a LoRA adapter beside its base: biases, where its factors have some (`lora_bias`)."""
    has_bias = any(getattr(module, "lora_bias", {}).get(adapter) for module in model.modules())
    return [_BIASES] if has_bias else []


def _parts(model: Any) -> Iterator[tuple[str, Tensor]]:
    """Kind and value of every such parameter, layer by layer."""
    parts = anatomy(model)
    for layer, projections in enumerate(layer_projections(model)):
        weights = {id(projection.module.weight) for projection in projections.values()}
        for name, weight in parts.attentions[layer].named_parameters():
            if id(weight) not in weights:
                yield _kind(name), weight.detach()
        for norm in _norms(parts, layer):
            yield from ((_NORMS_OF_LAYERS, weight.detach()) for weight in norm.parameters())


def _kind(name: str) -> str:
    if name.endswith("bias") and "norm" not in name:
        return _BIASES
    if "norm" in name:
        return "norms on queries and keys"
    return "learned sinks" if name == "sinks" else name


def _norms(parts: Anatomy, layer: int) -> list[nn.Module]:
    return [module for name, module in parts.layers[layer].named_children() if "norm" in name or name.startswith("ln")]
