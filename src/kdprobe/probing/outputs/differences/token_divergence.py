"""How far two models' next-token distributions differ at every token of a text."""

from __future__ import annotations

from dataclasses import dataclass
from math import log

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kdprobe.errors import KdprobeError, NonFiniteError
from kdprobe.probing.drift.divergence import log_distribution, token_divergences
from kdprobe.probing.outputs.differences.reading import Reading


@dataclass(frozen=True)
class TokenDifferences:
    """The differences between two models on one text, at each token but the first.

    Attributes:
        kl: KL(first || second), `[token]`, in nats.
        js: Their Jensen-Shannon divergence, `[token]`, in nats.
        greedy: The id of the greedy (most likely) next token of each model, `[token, 2]`.
    """

    kl: NDArray[np.float64]
    js: NDArray[np.float64]
    greedy: NDArray[np.int64]


@torch.inference_mode()
def token_differences(first: Reading, second: Reading, ids: tuple[int, ...]) -> TokenDifferences:
    """Compares two models on a text; logits exist for a few rows of both at a time.

    Args:
        first: The model that the other is compared with.
        second: The other model, with the same vocabulary.
        ids: The text.

    Raises:
        KdprobeError: The models have logits for different numbers of tokens.
        NonFiniteError: A divergence is NaN or infinite.
    """
    if first.vocabulary != second.vocabulary:
        raise KdprobeError(
            f"{first.name!r} has logits for {first.vocabulary} tokens, but {second.name!r} has logits for "
            f"{second.vocabulary}.",
            "Their distributions cannot be compared; leave one of them out.",
        )
    divergences, greedy = [], []
    both = first.logits(first.states(ids)), second.logits(second.states(ids))
    for p_logits, q_logits in zip(*both, strict=True):
        log_p, log_q = log_distribution(p_logits), log_distribution(q_logits.to(p_logits.device))
        found = [token_divergences(log_p, log_q), jensen_shannon(log_p, log_q)]
        divergences.append(torch.stack(found, dim=1).double().cpu().numpy())
        greedy.append(torch.stack([log_p.argmax(dim=-1), log_q.argmax(dim=-1)], dim=1).cpu().numpy())
    kl, js = np.concatenate(divergences).T
    if not (np.isfinite(kl).all() and np.isfinite(js).all()):
        raise NonFiniteError(f"The logits of {first.name!r} or {second.name!r} are NaN or infinite.")
    return TokenDifferences(kl, js, np.concatenate(greedy))


def jensen_shannon(log_p: Tensor, log_q: Tensor) -> Tensor:
    """The Jensen-Shannon divergence of each row, `[rows]`, in nats, from what `log_distribution` returns.

    For each token, with the larger of its probabilities l, the smaller s = l exp(-a) and their mean m, the term is
    (l log(l/m) + s log(s/m)) / 2, where log(l/m) = -log((1 + exp(-a)) / 2) and log(s/m) = log(l/m) - a. It is exactly
    0 for equal probabilities, and the same whichever model is which.
    """
    apart = (log_p - log_q).abs()
    larger = torch.maximum(log_p, log_q)
    to_mean = -torch.log1p(torch.expm1(-apart) / 2)
    terms = larger.exp() * to_mean + (larger - apart).exp() * (to_mean - apart)
    return (terms.sum(dim=-1) / 2).clamp(0.0, log(2))
