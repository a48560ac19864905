"""Sparse KD: from hidden states directly to loss and gradient, in chunks of rows.

An ordinary step creates logits `[rows, V]`, a float32 copy, their log-softmax and its gradient, all at once. Here each
chunk of rows passes through the frozen output matrix, and its loss and gradient are finished before the next chunk.

It needs only one pass over V: with z the scaled logits and K the teacher's top k, the loss depends on z only through
k + 1 *cells* c = (z_K, logsumexp of the others), and

    dc_tail / dz_j = r_j,   r = softmax over the columns outside K

so one softmax with K masked out gives both the tail and its gradient; everything else is k + 1 wide and left to
autograd. The cross-entropy comes for free: its normaliser logsumexp(z) is that of the cells. Without a teacher K is
empty.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from kdprobe.distill.objectives import Objective, SparseLogprobs, between_cells, columns_of, exact
from kdprobe.models.lm_head import CHUNK_BYTES


def sparse_kd_loss(
    hidden: Tensor,
    weight: Tensor,
    labels: Tensor,
    teacher: SparseLogprobs | None,
    objective: Objective,
    *,
    chunk_rows: int | None = None,
) -> dict[str, Tensor]:
    """The loss of `Objective.dense`, without the logits.

    Args:
        hidden: Hidden states of the response rows, `[rows, d]`; they receive the gradient.
        weight: The frozen output matrix, `[V, d]`, real ids only; receives no gradient.
        labels: Token ids to predict, `[rows]`.
        teacher: One row for each hidden state, or `None` if alpha is 1.
        objective: What to minimise.
        chunk_rows: Rows per chunk; by default as many as fit into `CHUNK_BYTES`.

    Returns:
        `loss` `[rows]` in nats, which carries the gradient, and its parts, which do not.
    """
    chunk_rows = chunk_rows or max(1, CHUNK_BYTES // (4 * len(weight)))
    device = hidden.device.type
    # The same casts as in a linear layer, with and without autocast.
    hidden = hidden.to(torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else weight.dtype)
    with torch.autocast(device, enabled=False):
        loss, *parts = _SparseKD.apply(  # type: ignore[no-untyped-call]
            hidden, weight, labels, teacher, objective, chunk_rows
        )
    names = [name for name, counts in _counting(objective, teacher).items() if counts]
    return {"loss": loss, **dict(zip(names, parts, strict=True))}


def _counting(objective: Objective, teacher: SparseLogprobs | None) -> dict[str, bool]:
    return {"cross_entropy": objective.alpha > 0, "divergence": teacher is not None and objective.alpha < 1}


class _SparseKD(torch.autograd.Function):
    """Computes the gradient of every row in the forward pass; backward only scales it."""

    @staticmethod
    def forward(  # noqa: PLR0917
        context: Any,
        hidden: Tensor,
        weight: Tensor,
        labels: Tensor,
        teacher: SparseLogprobs | None,
        objective: Objective,
        chunk_rows: int,
    ) -> tuple[Tensor, ...]:
        matrix = weight.detach().to(hidden.dtype)
        wants_gradient = context.needs_input_grad[0]
        slope = torch.empty_like(hidden) if wants_gradient else None
        finished = []
        for start in range(0, len(hidden), chunk_rows):
            rows = slice(start, start + chunk_rows)
            logits = exact(hidden[rows].detach() @ matrix.T)
            parts, gradient = _chunk(logits, labels[rows], _rows(teacher, rows), objective)
            finished.append(parts)
            if slope is not None:
                torch.mm(gradient.to(hidden.dtype), matrix, out=slope[rows])
        if slope is not None:
            context.save_for_backward(slope)
        columns = tuple(torch.cat(column) for column in zip(*finished, strict=True))
        context.mark_non_differentiable(*columns[1:])
        return columns

    @staticmethod
    def backward(context: Any, *above: Tensor) -> tuple[Tensor | None, ...]:
        (slope,) = context.saved_tensors
        # In float32, because 1 / tokens is not exact in bfloat16.
        return (slope.to(above[0].dtype) * above[0][:, None]).to(slope.dtype), None, None, None, None, None


def _chunk(
    logits: Tensor, labels: Tensor, teacher: SparseLogprobs | None, objective: Objective
) -> tuple[list[Tensor], Tensor]:
    """`[loss, *parts]` of a chunk, each `[rows]`, and d loss / d logits `[rows, V]`, which may reuse their memory."""
    counting = _counting(objective, teacher)
    cross_entropy, divergence, gradient = None, None, None
    # One pass serves both parts if they have the same temperature.
    joint = all(counting.values()) and objective.temperature == 1
    if counting["divergence"]:
        assert teacher is not None  # noqa: S101 - for the type checker
        source = logits if joint or not counting["cross_entropy"] else logits.clone()
        labelled = labels if joint else None
        divergence, cross_entropy, gradient = _pass(source, teacher, objective, labelled, objective.temperature)
    if counting["cross_entropy"] and not joint:
        _, cross_entropy, cross_entropy_gradient = _pass(logits, None, objective, labels, 1)
        gradient = cross_entropy_gradient if gradient is None else gradient.add_(cross_entropy_gradient)
    assert gradient is not None  # noqa: S101 - an objective has at least one part
    parts = {"cross_entropy": cross_entropy, "divergence": divergence}
    named_parts = {name: part for name, part in parts.items() if part is not None}
    return list(objective.joined(named_parts).values()), gradient


def _pass(
    logits: Tensor, teacher: SparseLogprobs | None, objective: Objective, labels: Tensor | None, temperature: float
) -> tuple[Tensor | None, Tensor | None, Tensor]:
    """Divergence, cross-entropy, and the gradient of their weighted sum, from one softmax; works in place.

    Args:
        logits: `[rows, V]`; overwritten with the gradient.
        teacher: The teacher's rows, for the divergence.
        objective: The weights.
        labels: Labels for the cross-entropy, or `None`.
        temperature: By what logits are divided before the softmax.
    """
    scaled = logits if temperature == 1 else logits.div_(temperature)
    rows = scaled.shape[0]
    given = teacher.ids if teacher is not None else scaled.new_empty((rows, 0), dtype=torch.long)
    ids, missing = columns_of(given)
    label_logits = scaled.gather(1, labels[:, None])[:, 0] if labels is not None else None
    top = scaled.gather(1, ids).masked_fill_(missing, -torch.inf)
    scaled.scatter_(1, ids, -torch.inf)
    if ids.shape[1] == scaled.shape[1] and not missing.any():
        tail, outside = torch.full_like(scaled[:, 0], -torch.inf), scaled.zero_()
        share = torch.zeros_like(tail)
    else:
        # A row that keeps the whole vocabulary among narrower ones has nothing outside.
        largest = scaled.amax(dim=1, keepdim=True).clamp_(min=torch.finfo(scaled.dtype).min)
        outside = scaled.sub_(largest).exp_()
        mass = outside.sum(dim=1)
        tail = largest[:, 0] + mass.log()
        share = torch.where(mass > 0, 1 / mass, 0)
    with torch.enable_grad():
        cells = torch.cat([top, tail[:, None]], dim=1).requires_grad_()
        total = scaled.new_zeros(())
        divergence = cross_entropy = None
        if teacher is not None:
            log_q = cells.log_softmax(dim=1)
            divergence = between_cells(teacher.cells, log_q, objective.kind, **objective.parameters)
            total = total + objective.weight * divergence.sum()
        if label_logits is not None:
            cross_entropy = cells.logsumexp(dim=1) - label_logits
            total = total + objective.alpha * cross_entropy.sum()
        (slope,) = torch.autograd.grad(total / temperature, cells)
    gradient = outside.mul_((slope[:, -1] * share)[:, None])
    # Added to zeros, because a cell without an id has the column of another and no slope.
    gradient.scatter_add_(1, ids, slope[:, :-1])
    if labels is not None:
        gradient.scatter_add_(1, labels[:, None], torch.full_like(gradient[:, :1], -objective.alpha / temperature))
    return (
        None if divergence is None else divergence.detach(),
        None if cross_entropy is None else cross_entropy.detach(),
        gradient,
    )


def _rows(teacher: SparseLogprobs | None, rows: slice) -> SparseLogprobs | None:
    if teacher is None:
        return None
    return SparseLogprobs(teacher.ids[rows], teacher.logprobs[rows], teacher.tail_logmass[rows], teacher.temperature)
