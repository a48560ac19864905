"""Parts of attention that belong to no circuit: biases, norms on queries and keys, learned sinks."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from kdprobe.models.anatomy import Anatomy, anatomy
from kdprobe.probing.weights.projections import layer_projections

_BIASES = "biases of the projections"
_NORMS_OF_LAYERS = "norms of the layers"


def uncounted(model: Any) -> list[str]:
    """The parts of a model's attention besides the four weights of each layer."""
    return list(dict.fromkeys(kind for kind, _ in _parts(model).values() if kind != _NORMS_OF_LAYERS))


def uncounted_changes(before: Any, after: Any) -> list[str]:
    """Those of these parts, and of the layers' norms, that training changed."""
    old, new = _parts(before), _parts(after)
    # Another architecture may have parts that the base lacks, or lack some.
    changed = [name for name in old | new if name not in old or name not in new or not old[name][1].equal(new[name][1])]
    return list(dict.fromkeys((old | new)[name][0] for name in changed))


def trained_biases(model: Any, adapter: str) -> list[str]:
    """The same for an unmerged LoRA adapter: biases, if its factors have any (`lora_bias`)."""
    has_bias = any(getattr(module, "lora_bias", {}).get(adapter) for module in model.modules())
    return [_BIASES] if has_bias else []


def _parts(model: Any) -> dict[tuple[int, str], tuple[str, Tensor]]:
    """Maps layer and name of every such parameter to its kind and value."""
    parts, found = anatomy(model), {}
    for layer, projections in enumerate(layer_projections(model)):
        weights = {id(projection.module.weight) for projection in projections.values()}
        for name, weight in parts.attentions[layer].named_parameters():
            if id(weight) not in weights:
                found[layer, name] = (_kind(name), weight.detach())
        for norm, module in _norms(parts, layer).items():
            for name, weight in module.named_parameters():
                found[layer, f"{norm}.{name}"] = (_NORMS_OF_LAYERS, weight.detach())
    return found


def _kind(name: str) -> str:
    if name.endswith("bias") and "norm" not in name:
        return _BIASES
    if "norm" in name:
        return "norms on queries and keys"
    return "learned sinks" if name == "sinks" else name


def _norms(parts: Anatomy, layer: int) -> dict[str, nn.Module]:
    children = parts.layers[layer].named_children()
    return {name: module for name, module in children if "norm" in name or name.startswith("ln")}
