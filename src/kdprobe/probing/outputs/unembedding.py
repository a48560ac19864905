"""The map from the last normalised stream to logits: a matrix, in some models with a bias, a scale or a soft cap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Unembedding:
    """The map to logits; results are where the arguments are, whichever device the matrix is on.

    Attributes:
        weight: `[V, d_model]`, including the scale of the logits.
        bias: `[V]`, also scaled, or `None`.
        cap: The largest absolute value of a logit, if the model soft-caps them, or `None`.
    """

    weight: Tensor
    bias: Tensor | None
    cap: float | None

    def logits(self, states: Tensor) -> Tensor:
        """Logits `[row, V]`, float32, from the input of the output layer, `[row, d_model]`."""
        logits = states.to(self.weight) @ self.weight.T
        if self.bias is not None:
            logits = logits + self.bias
        return (logits if self.cap is None else self.cap * torch.tanh(logits / self.cap)).to(states.device)

    def centred(self, tokens: Tensor) -> Tensor:
        """Rows of the matrix minus its mean over the vocabulary, `[token, d_model]`."""
        return (self.weight[tokens.to(self.weight.device)] - self.weight.mean(dim=0)).to(tokens.device)

    def centred_bias(self, tokens: Tensor) -> Tensor:
        """The same for the bias, `[token]`."""
        if self.bias is None:
            return self.weight.new_zeros(len(tokens), device=tokens.device)
        return (self.bias[tokens.to(self.bias.device)] - self.bias.mean()).to(tokens.device)

    def uncapped(self, logits: Tensor) -> Tensor:
        """Logits of real tokens before the cap, `[row, V]`."""
        real = logits[:, : len(self.weight)]
        return real if self.cap is None else self.cap * torch.atanh(real / self.cap)


def unembedding(model: Any, vocabulary: int) -> Unembedding:
    """Returns the unembedding of a model's real tokens."""
    head, config = model.get_output_embeddings(), model.config.get_text_config()
    scale = float(getattr(config, "logit_scale", None) or 1) / float(getattr(config, "logits_scaling", None) or 1)
    bias = getattr(head, "bias", None)
    weight = head.weight[:vocabulary].detach().float()
    return Unembedding(
        weight if scale == 1 else scale * weight,  # not copied if there is nothing to scale
        None if bias is None else scale * bias[:vocabulary].detach().float(),
        getattr(config, "final_logit_softcapping", None),
    )
