"""How far an adapter changes a head's circuits, from its low-rank factors, without a `d_model x d_model` product.

A head's QK circuit is the bilinear form W_Q^T W_K on the residual stream, its OV circuit the map W_O W_V (Elhage et
al., 2021, "A Mathematical Framework for Transformer Circuits"). Both are L^T R with L and R of shape
`[head_dim, d_model]`. With L + dL and R + dR, their change is

    dL^T (R + dR) + L^T dR

which, for dL = P_L C_L and dR = P_R C_R (P: `[head_dim, rank]`, C: `[rank, d_model]`), is one thin product:

    [C_L; P_R^T L]^T [P_L^T (R + dR); C_R]

The norm of a thin product X^T Y needs only the triangular factors of two QR decompositions. This avoids subtracting two
nearly equal circuits; squared norms from Gram matrices would lose half of the digits where the two terms cancel.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Change:
    """A change in one attention weight, by heads: `outer @ inner`.

    Attributes:
        outer: `[head, head_dim, rank]`.
        inner: `[head, rank, d_model]`, or one for all heads.
    """

    outer: Tensor
    inner: Tensor

    @property
    def dense(self) -> Tensor:
        """`[head, head_dim, d_model]`."""
        return self.outer @ self.inner

    def of_heads(self, heads: Tensor) -> Change:
        """The change in these heads, in this order; a key-value head may be repeated for several query heads."""
        return Change(self.outer[heads], self.inner if len(self.inner) == 1 else self.inner[heads])


def change_norm(left: Tensor, right: Tensor, left_change: Change | None, right_change: Change | None) -> Tensor:
    """Frobenius norm of the change in `left^T right`, `[head]`.

    Args:
        left: L of every head before the change, `[head, head_dim, d_model]`, float64.
        right: R, the same shape.
        left_change: dL, or `None` if L does not change.
        right_change: dR, or `None`.
    """
    tops: list[Tensor] = []
    bottoms: list[Tensor] = []
    if left_change is not None:
        changed_right = right if right_change is None else right + right_change.dense
        tops.append(left_change.inner.expand(len(left), -1, -1))
        bottoms.append(left_change.outer.mT @ changed_right)
    if right_change is not None:
        tops.append(right_change.outer.mT @ left)
        bottoms.append(right_change.inner.expand(len(left), -1, -1))
    if not tops:
        return left.new_zeros(len(left))
    return product_norm(torch.cat(tops, dim=1), torch.cat(bottoms, dim=1))


def product_norm(left: Tensor, right: Tensor) -> Tensor:
    """Frobenius norm of `left^T right`, both `[..., thin, wide]`, from `[thin, thin]` triangular factors."""
    # left^T = Q S and right^T = Q' S' with orthonormal Q, Q', so the norm of Q S S'^T Q'^T is that of S S'^T.
    left_triangle = torch.linalg.qr(left.mT, mode="r").R
    right_triangle = torch.linalg.qr(right.mT, mode="r").R
    norm: Tensor = torch.linalg.matrix_norm(left_triangle @ right_triangle.mT)
    return norm
