"""Finds the layers, attention modules and output projections of a Hugging Face decoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from kdprobe.errors import KdprobeError

ATTENTION = ("self_attn", "attn", "attention", "self_attention")
"""Names that architectures use for the attention module of a layer."""
_MLP = ("mlp", "feed_forward", "ffn", "block_sparse_moe")
"""Names that architectures use for the MLP of a layer."""
_OUTPUT = ("o_proj", "out_proj", "c_proj", "dense")


@dataclass(frozen=True)
class Anatomy:
    """The parts of a decoder that analyses examine; each list has one entry per layer.

    Attributes:
        layers: The decoder's layers.
        attentions: Their attention modules.
        outputs: The projections W_O that a head's output z passes through.
        heads: Query heads per layer.
    """

    layers: list[nn.Module]
    attentions: list[nn.Module]
    outputs: list[nn.Module]
    heads: int

    def __len__(self) -> int:
        """The number of layers."""
        return len(self.layers)

    def output_matrix(self, layer: int) -> Tensor:
        """W_O of every head of a layer, `[head, head_dim, d_model]`: a detached view of the weight."""
        module: Any = self.outputs[layer]
        # A linear layer stores `[out, in]`; GPT-2's projections store `[in, out]`.
        weight: Tensor = module.weight.T if isinstance(module, nn.Linear) else module.weight
        return weight.detach().view(self.heads, -1, weight.shape[1])


def anatomy(model: Any) -> Anatomy:
    """Finds the parts by their usual names.

    Raises:
        KdprobeError: They are not found.
    """
    config = model.config.get_text_config()
    for module in _stacks(model):
        attentions = [_child(layer, ATTENTION) for layer in module]
        outputs = [attention and _child(attention, _OUTPUT) for attention in attentions]
        if all(outputs):
            return Anatomy(list(module), attentions, outputs, config.num_attention_heads)  # type: ignore[arg-type]
    raise KdprobeError(
        f"kdprobe cannot find the attention heads of this architecture ({config.model_type}).",
        "Leave out analyses of heads: they need an attention module with an output projection in every layer.",
    )


def decoder_layers(model: Any) -> list[nn.Module]:
    """The layers of a decoder, of any kind; empty if they are not found."""
    return list(next(iter(_stacks(model)), []))


def mlp_modules(model: Any) -> list[nn.Module]:
    """The modules whose outputs are those of the layers' MLPs, before any norm; empty if they are not found."""
    modules = [_child(layer, _MLP) for layer in decoder_layers(model)]
    return [module for module in modules if module is not None] if all(modules) else []


def _stacks(model: Any) -> list[nn.ModuleList]:
    """Lists of modules with as many entries as the decoder has layers."""
    layers = getattr(model.config.get_text_config(), "num_hidden_layers", None)
    # An image tower may have as many layers, and what transformers calls the decoder is not one in every architecture.
    modules = [*model.get_decoder().modules(), *model.modules()]
    return [module for module in modules if isinstance(module, nn.ModuleList) and len(module) == layers]


def _child(module: nn.Module, names: tuple[str, ...]) -> nn.Module | None:
    children = (getattr(module, name, None) for name in names)
    return next((child for child in children if child is not None), None)
