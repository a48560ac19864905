"""Where the layers, attention modules and output projections of a Hugging Face decoder are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from kdprobe.errors import KdprobeError

ATTENTION = ("self_attn", "attn", "attention", "self_attention")
"""What architectures call the attention of a layer."""
_OUTPUT = ("o_proj", "out_proj", "c_proj", "dense")


@dataclass(frozen=True)
class Anatomy:
    """The parts of a decoder that are looked at; a list has one entry per layer.

    Attributes:
        layers: The decoder's layers.
        attentions: Their attention modules.
        outputs: The projections that a head's output z goes through: W_O.
        heads: Query heads per layer.
    """

    layers: list[nn.Module]
    attentions: list[nn.Module]
    outputs: list[nn.Module]
    heads: int

    def __len__(self) -> int:
        """Layers."""
        return len(self.layers)

    def output_matrix(self, layer: int) -> Tensor:
        """W_O of every head of a layer, `[head, head_dim, d_model]`, a view of the weight without its gradient."""
        module: Any = self.outputs[layer]
        # A linear layer keeps `[out, in]`; GPT-2's projections keep `[in, out]`.
        weight: Tensor = module.weight.T if isinstance(module, nn.Linear) else module.weight
        return weight.detach().view(self.heads, -1, weight.shape[1])


def anatomy(model: Any) -> Anatomy:
    """Finds the parts by their usual names.

    Raises:
        KdprobeError: There are none.
    """
    config = model.config.get_text_config()
    for module in _stacks(model):
        attentions = [_child(layer, ATTENTION) for layer in module]
        outputs = [attention and _child(attention, _OUTPUT) for attention in attentions]
        if all(outputs):
            return Anatomy(list(module), attentions, outputs, config.num_attention_heads)  # type: ignore[arg-type]
    raise KdprobeError(
        f"The attention heads of this architecture ({config.model_type}) are not where they are looked for.",
        "Every layer needs an attention module with an output projection; leave the analysis out.",
    )


def decoder_layers(model: Any) -> list[nn.Module]:
    """The layers of a decoder, whatever they are made of; empty where they are not found."""
    return list(next(iter(_stacks(model)), []))


def _stacks(model: Any) -> list[nn.ModuleList]:
    """Lists of modules that have as many entries as the decoder has layers."""
    layers = model.config.get_text_config().num_hidden_layers
    # A tower for images may have as many, and what transformers calls the decoder is not one in every architecture.
    modules = [*model.get_decoder().modules(), *model.modules()]
    return [module for module in modules if isinstance(module, nn.ModuleList) and len(module) == layers]


def _child(module: nn.Module, names: tuple[str, ...]) -> nn.Module | None:
    children = (getattr(module, name, None) for name in names)
    return next((child for child in children if child is not None), None)
