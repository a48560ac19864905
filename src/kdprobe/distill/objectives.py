"""Divergences between a sparse teacher and a dense student, row by row.

A row is divided into k + 1 *cells*: the teacher's top k tokens K, and one cell for all others together. With p the
teacher's and q the student's mass in a cell, both at temperature T:

    forward-kl          KL(p || q)
    reverse-kl          KL(q || p)
    skew-kl             KL(p || s p + (1 - s) q)                     s = `skew`
    skew-reverse-kl     KL(q || s q + (1 - s) p)
    jsd                 b KL(p || m) + (1 - b) KL(q || m),  m = b p + (1 - b) q     b = `beta`

Each is non-negative, zero at q = p, a lower bound on its dense counterpart (merging cells loses information), and
equal to it as k -> V. Skew divergences: Ko et al., "DistiLLM", 2024, arXiv 2402.03898.

`beta` weighs the teacher, in the mixture and in front of KL(p || m), as in Agarwal et al., "On-policy distillation",
2023, arXiv 2306.13649. Libraries that swap the two KL terms differ at every beta other than 0.5.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import get_args

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from kdprobe.distill.kinds import PARAMETERS, Kind
from kdprobe.errors import KdprobeError


@dataclass(frozen=True)
class SparseLogprobs:
    """A teacher's distribution, cut to its top k, at one temperature.

    Attributes:
        ids: Token ids of the top k, `[rows, k]`; -1 fills up rows that keep fewer.
        logprobs: Their natural log-probabilities at `temperature`, `[rows, k]`, float32; -inf where the id is -1.
        tail_logmass: Log of the mass outside the top k, `[rows]`; -inf if there is none.
        temperature: The temperature of these values.
    """

    ids: Tensor
    logprobs: Tensor
    tail_logmass: Tensor
    temperature: float = 1.0

    @classmethod
    def from_logits(cls, logits: Tensor, k: int, temperature: float = 1.0) -> SparseLogprobs:
        """The top k of dense logits `[rows, V]`; with k = V the tail is -inf."""
        logprobs = (exact(logits) / temperature).log_softmax(dim=-1)
        top = logprobs.topk(k, dim=-1)
        return cls(top.indices, top.values, logsumexp_outside(logprobs, top.indices), temperature)

    @classmethod
    def from_stored(cls, ids: Tensor, logprobs: Tensor, tail_logmass: Tensor, temperature: float) -> SparseLogprobs:
        """Converts stored rows to a planned temperature.

        Args:
            ids: `[rows, k]`.
            logprobs: At temperature 1, `[rows, k]`, possibly rounded to fp16.
            tail_logmass: The exact tail *at `temperature`*, `[rows]`.
            temperature: The planned temperature.

        Returns:
            Rows that sum to one with their tail; with fp16 alone the divergence would be -2e-4 at q = p.
        """
        scaled = logprobs.float() / temperature
        # log Z' such that the top k sum to 1 - tail; log(-expm1(tail)) is the stable form of log1p(-exp(tail)).
        shift = torch.logsumexp(scaled, dim=-1) - torch.log(-torch.expm1(tail_logmass.float()))
        return cls(ids, scaled - shift[:, None], tail_logmass.float(), temperature)

    @property
    def cells(self) -> Tensor:
        """Log-mass of all cells, `[rows, k + 1]`, the tail last."""
        return torch.cat([self.logprobs, self.tail_logmass[:, None]], dim=-1)


def divergence(
    student_logits: Tensor,
    teacher: SparseLogprobs,
    kind: Kind = "forward-kl",
    temperature: float = 1.0,
    **parameters: float,
) -> Tensor:
    """Divergence of the student from the teacher at every row.

    Args:
        student_logits: `[rows, V]`; divided by `temperature` here.
        teacher: The teacher's rows, at the same temperature.
        kind: See the module.
        temperature: T.
        parameters: `skew` of the skew divergences (0.1), `beta` of `jsd` (0.5).

    Returns:
        Nats per row, `[rows]`; float64 for float64 logits, else float32.

    Raises:
        KdprobeError: The teacher's temperature differs, the kind is unknown, or a parameter does not fit it.
    """
    if not math.isclose(teacher.temperature, temperature):
        raise KdprobeError(
            f"The teacher's distributions are at temperature {teacher.temperature}, the student's at {temperature}.",
            "Use the same temperature for both.",
        )
    scaled = exact(student_logits) / temperature
    return between_cells(teacher.cells, student_cells(scaled, teacher.ids), kind, **parameters)


def student_cells(scaled_logits: Tensor, ids: Tensor) -> Tensor:
    """Log-mass that logits `[rows, V]` assign to the cells of `ids` `[rows, k]`: `[rows, k + 1]`."""
    columns, missing = columns_of(ids)
    top = scaled_logits.gather(1, columns).masked_fill(missing, -torch.inf)
    return torch.cat([top, logsumexp_outside(scaled_logits, ids)[:, None]], dim=-1).log_softmax(dim=-1)


def columns_of(ids: Tensor) -> tuple[Tensor, Tensor]:
    """The column of every id `[rows, k]`, the first of its row in place of -1; and which ones these are."""
    return torch.where(ids < 0, ids[:, :1], ids).long(), ids < 0


def between_cells(log_p: Tensor, log_q: Tensor, kind: Kind, **parameters: float) -> Tensor:
    """Divergence of two distributions over the same cells.

    Args:
        log_p: Log-mass of the teacher's cells, `[rows, cells]`.
        log_q: Log-mass of the student's cells, `[rows, cells]`.
        kind: See the module.
        parameters: As in `divergence`.

    Returns:
        Nats per row, `[rows]`.

    Raises:
        KdprobeError: The kind is unknown, or a parameter does not fit it.
    """
    weight = parameter_of(kind, parameters)
    log_p = log_p.to(log_q.dtype)
    match kind:
        case "forward-kl":
            return _kl(log_p, log_q)
        case "reverse-kl":
            return _kl(log_q, log_p)
        case "skew-kl":
            return _kl(log_p, _mixture(log_p, log_q, weight))
        case "skew-reverse-kl":
            return _kl(log_q, _mixture(log_q, log_p, weight))
        case "jsd":
            middle = _mixture(log_p, log_q, weight)
            return weight * _kl(log_p, middle) + (1 - weight) * _kl(log_q, middle)


def parameter_of(kind: str, parameters: dict[str, float]) -> float:
    """The validated parameter of a kind; 0 for kinds without one.

    Raises:
        KdprobeError: The kind is unknown, or a parameter does not fit it.
    """
    if kind not in get_args(Kind):
        raise KdprobeError(f"Unknown divergence {kind!r}.", f"Available: {', '.join(get_args(Kind))}.")
    name, default = PARAMETERS.get(kind, ("", 0.0))
    if unknown := sorted(set(parameters) - {name}):
        raise KdprobeError(
            f"The divergence {kind!r} has no parameter {unknown[0]!r}.",
            f"Its only parameter is {name!r}." if name else "It has no parameters.",
        )
    weight = parameters.get(name, default)
    # At skew 1, and at both ends of beta, there is nothing left to learn.
    if name and not (0 <= weight < 1 if name == "skew" else 0 < weight < 1):
        raise KdprobeError(f"{name!r} of {kind!r} is {weight}.", "Set it above 0 and below 1; `skew` may be 0.")
    return weight


def logsumexp_outside(logits: Tensor, ids: Tensor) -> Tensor:
    """Logsumexp over the columns of `[rows, V]` that are not in `ids` `[rows, k]`; -inf at k = V.

    Computed over the other columns directly: 1 - sum is wrong by 19% at a tail of 1e-7 in float32.
    """
    if ids.shape[-1] == logits.shape[-1] and not (ids < 0).any():
        return torch.full_like(logits[:, 0], -torch.inf)
    return torch.logsumexp(logits.scatter(1, columns_of(ids)[0], -torch.inf), dim=-1)


@dataclass(frozen=True)
class Objective:
    """What a distiller minimises at every row: alpha CE + (1 - alpha) T^2 D.

    Attributes:
        alpha: Weight of the cross-entropy on the labels, at temperature 1; 1 needs no teacher.
        kind: The divergence D.
        temperature: T, of both teacher and student. T^2 keeps gradients the same size as T grows (Hinton et al., 2015).
        parameters: Parameters of the divergence.
    """

    alpha: float = 1.0
    kind: Kind = "forward-kl"
    temperature: float = 1.0
    parameters: dict[str, float] = field(default_factory=dict)

    @property
    def weight(self) -> float:
        """The weight of the divergence: (1 - alpha) T^2."""
        return (1 - self.alpha) * self.temperature**2

    def dense(self, logits: Tensor, labels: Tensor, teacher: SparseLogprobs | None) -> dict[str, Tensor]:
        """The loss from dense logits: simple, but as wide as the vocabulary; `sparse_kd` is the fast version.

        Args:
            logits: `[rows, V]`, real ids only.
            labels: `[rows]`.
            teacher: One row for each logits row, or `None` if alpha is 1.

        Returns:
            `loss`, and `cross_entropy` and `divergence` if they have weight, each `[rows]` in nats.
        """
        parts = {}
        if self.alpha > 0:
            parts["cross_entropy"] = cross_entropy(exact(logits), labels, reduction="none")
        if teacher is not None and self.alpha < 1:
            parts["divergence"] = divergence(logits, teacher, self.kind, self.temperature, **self.parameters)
        return self.joined(parts)

    def joined(self, parts: dict[str, Tensor]) -> dict[str, Tensor]:
        """The parts, preceded by their weighted sum, `loss`."""
        weights = {"cross_entropy": self.alpha, "divergence": self.weight}
        return {"loss": sum((weights[name] * part for name, part in parts.items()), torch.zeros(())), **parts}


def _kl(log_a: Tensor, log_b: Tensor) -> Tensor:
    """KL(a || b) over cells, `[rows]`; 0 log(0 / b) = 0."""
    # Masked before the product; otherwise 0 * inf gives NaN in the value and the gradient.
    empty = log_a == -torch.inf
    difference = log_a.masked_fill(empty, 0.0) - log_b.masked_fill(empty, 0.0)
    return (log_a.exp() * difference).sum(dim=-1)


def _mixture(log_a: Tensor, log_b: Tensor, weight: float) -> Tensor:
    """log(weight a + (1 - weight) b), cell by cell."""
    if weight == 0:
        return log_b
    empty = (log_a == -torch.inf) & (log_b == -torch.inf)
    first = log_a.masked_fill(empty, 0.0) + math.log(weight)
    second = log_b.masked_fill(empty, 0.0) + math.log1p(-weight)
    return torch.logaddexp(first, second).masked_fill(empty, -torch.inf)


def exact(logits: Tensor) -> Tensor:
    """Logits in float32, or float64 if they are already."""
    return logits if logits.dtype == torch.float64 else logits.float()
