"""The language-model head: detaching it from a model, and log-probabilities without storing all logits at once.

While it is detached, a model's `logits` are its last hidden states, `[..., d_model]`. The functions below then compute
logits for a few rows at a time, so that no `[tokens, V]` tensor ever exists.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from kdprobe.errors import NonFiniteError
from kdprobe.models.devices.spread import input_device

CHUNK_BYTES = 32 * 2**20
"""Size of the single float32 buffer of width V."""


@contextmanager
def without_lm_head(model: Any, vocabulary: int) -> Iterator[Tensor | None]:
    """Detaches the output matrix of a model while the block runs, so that its `logits` are hidden states.

    Forward passes still go through the model itself, as wrappers for multi-process training expect.

    Args:
        model: A PEFT model or a plain one.
        vocabulary: The number of real token ids.

    Yields:
        The matrix, `[V, d_model]`, cut to real ids; or `None`, with the model unchanged, if the matrix is trained or
        offloaded, or the model does more than multiply to get its logits (soft caps, scales, biases).
    """
    matrix = head_matrix(model, vocabulary)
    if matrix is None:
        yield None
        return
    with lm_head_replaced(model):
        yield matrix


def head_matrix(model: Any, vocabulary: int) -> Tensor | None:
    """What `without_lm_head` yields; found with two forward passes over a few tokens, so keep it for many blocks."""
    lm_head: Any = _unwrapped(model).get_output_embeddings()
    return lm_head.weight[:vocabulary].detach() if _only_multiplies(model, lm_head) else None


@contextmanager
def lm_head_replaced(model: Any) -> Iterator[None]:
    """`without_lm_head` without its check: replaces a model's output layer with an identity."""
    base = _unwrapped(model)
    lm_head = base.get_output_embeddings()
    base.set_output_embeddings(_HiddenStates(lm_head))
    try:
        yield
    finally:
        base.set_output_embeddings(lm_head)


def log_probabilities(rows: Tensor, targets: Tensor, matrix: Tensor | None, vocabulary: int, *, subject: str) -> Tensor:
    """Log-probability of each target, `[rows]`, float64, in nats.

    Args:
        rows: Hidden states `[rows, d_model]`, or logits `[rows, V]` if there is no matrix.
        targets: Token ids, `[rows]`.
        matrix: The output matrix, `[V, d_model]`.
        vocabulary: The number of real token ids.
        subject: What is being read, for an error message.

    Raises:
        NonFiniteError: A logit is NaN or infinite.
    """
    chunks, start = [], 0
    for logits in logits_in_chunks(rows, matrix, vocabulary):
        ids = targets[start : start + len(logits)]
        # log_softmax adds up V terms sequentially in float32, with a bias of 5e-6 nats for 49,152 terms; logsumexp adds
        # them pairwise.
        chosen = logits.gather(1, ids[:, None])[:, 0]
        chunks.append(chosen.double() - logits.logsumexp(dim=-1).double())
        start += len(logits)
    found = torch.cat(chunks)
    if not found.isfinite().all():
        raise NonFiniteError(f"The log-probabilities of {subject} are NaN or infinite.")
    return found


def logits_in_chunks(rows: Tensor, matrix: Tensor | None, vocabulary: int) -> Iterator[Tensor]:
    """Logits `[rows, V]`, float32, a few rows at a time; arguments as for `log_probabilities`."""
    chunk = max(1, CHUNK_BYTES // (4 * vocabulary))
    for start in range(0, len(rows), chunk):
        part = rows[start : start + chunk]
        # If the model is spread over devices, the matrix is on the last, and the rows came back to the first.
        logits = part[:, :vocabulary] if matrix is None else (part.to(matrix.device) @ matrix.T).to(part.device)
        yield logits.float()


class _HiddenStates(nn.Identity):
    """An identity in place of an output layer, with its weight: Mamba casts hidden states to the weight's type."""

    def __init__(self, lm_head: Any) -> None:
        super().__init__()
        self.weight = getattr(lm_head, "weight", None)


def _unwrapped(model: Any) -> Any:
    """The model without PEFT's wrapper, if it has one."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _only_multiplies(model: Any, lm_head: Any) -> bool:
    """Whether a model's logits are its last hidden states times a frozen matrix; tested on a few tokens."""
    exactly_linear = type(lm_head) is nn.Linear  # a subclass may do more
    trained = lm_head.weight.requires_grad and not torch.is_inference_mode_enabled()
    if not exactly_linear or lm_head.bias is not None or trained or lm_head.weight.is_meta:
        return False
    logits = _sample(model)
    with lm_head_replaced(model):
        hidden = _sample(model)
    if hidden.shape[-1] != lm_head.in_features:
        return False
    return torch.allclose(lm_head(hidden).to(logits.device), logits, rtol=1e-3, atol=1e-4)


def _sample(model: Any) -> Tensor:
    """The model's output for a few tokens, with dropout off."""
    was_training = model.training
    model.eval()
    with torch.no_grad():
        output: Tensor = model(input_ids=torch.arange(8, device=input_device(model))[None], use_cache=False).logits
    model.train(was_training)
    return output
