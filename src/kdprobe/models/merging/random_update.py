"""Random updates: an attached LoRA's factors, exchanged in place for random ones of the same size.

In every layer, the random update has the singular values of the trained one, and so its rank and its Frobenius norm;
only its singular vectors are random. The rank matters too: the lower it is, the more the effects of updates vary.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from kdprobe.models.merging.lora import MAGNITUDE, dora_change, factors, is_dora, own_weight


@contextmanager
def random_update(model: Any, adapter: str, seed: str) -> Iterator[None]:
    """Puts a random update in place of an adapter's while the context is open, and then restores it exactly.

    A trained bias is replaced by a random vector of its length. With DoRA, the random update is as large as the whole
    change to the weight, and the magnitudes are set to those of the changed rows, so that they add nothing to it.

    Args:
        model: A model with LoRA adapters attached, unmerged.
        adapter: The adapter's name. Only its tensors are copied, and nothing else is written to.
        seed: Of the random update.
    """
    layers = [
        (name, module, a, b)
        for name, module in model.named_modules()
        for other, a, b in factors(module)
        if other == adapter
    ]
    # Before anything is written to.
    kept = [(part, part.clone()) for _, module, a, b in layers for part in (a, b, *_others(module, adapter))]
    try:
        for name, module, a, b in layers:
            generator = torch.Generator().manual_seed(_number(f"{seed} {name}"))
            _randomise(module, adapter, a, b, generator)
        yield
    finally:
        for part, values in kept:
            part.copy_(values)


def redrawn(a: Tensor, b: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Factors of a random matrix with the singular values of `b @ a`, in float64.

    Args:
        a: `[rank, in]`.
        b: `[out, rank]`.
        generator: Draws the singular vectors, uniformly among all orthonormal ones.
    """
    inner, outer = (factor.detach().cpu().double() for factor in (a, b))
    # B A = Q R (Q' R')^T, and orthonormal Q, Q' leave the singular values to the thin product R R'^T.
    values = torch.linalg.svdvals(torch.linalg.qr(outer, mode="r").R @ torch.linalg.qr(inner.T, mode="r").R.T)
    random_inner, random_outer = torch.zeros_like(inner), torch.zeros_like(outer)
    random_outer[:, : len(values)] = _orthonormal(len(outer), len(values), generator) * values
    random_inner[: len(values)] = _orthonormal(inner.shape[1], len(values), generator).T
    return random_inner, random_outer


def _randomise(module: Any, adapter: str, a: Tensor, b: Tensor, generator: torch.Generator) -> None:
    """Writes a random update of the same size into one layer."""
    scale = module.scaling[adapter]
    random_a, random_b = (factor.to(a.device) for factor in redrawn(a.flatten(1), b.flatten(1), generator))
    if is_dora(module, adapter):
        # The norm of what training did to the weight, magnitudes included.
        before = scale * (b.double() @ a.double())
        norm = torch.linalg.vector_norm(dora_change(module, adapter, before))
        size = torch.linalg.vector_norm(before)
        random_b *= norm / size if size else 0.0
        rows = torch.linalg.vector_norm(own_weight(module).double() + scale * (random_b @ random_a), dim=1)
        magnitude = getattr(module, MAGNITUDE)[adapter].weight.detach()
        magnitude.copy_(rows.reshape(magnitude.shape))
    a.copy_(random_a.reshape(a.shape))
    b.copy_(random_b.reshape(b.shape))
    if (bias := _bias(module, adapter)) is not None:
        direction = torch.randn(bias.shape, generator=generator, dtype=torch.float64).to(bias.device)
        length = torch.linalg.vector_norm(bias.double())
        bias.copy_(direction * length / torch.linalg.vector_norm(direction))


def _others(module: Any, adapter: str) -> Iterator[Tensor]:
    """What an adapter trains in a layer besides its factors."""
    if (bias := _bias(module, adapter)) is not None:
        yield bias
    if is_dora(module, adapter):
        yield getattr(module, MAGNITUDE)[adapter].weight.detach()


def _bias(module: Any, adapter: str) -> Tensor | None:
    parts = getattr(module, "lora_B", {})
    bias = parts[adapter].bias if adapter in parts else None
    return None if bias is None else bias.detach()


def _orthonormal(rows: int, columns: int, generator: torch.Generator) -> Tensor:
    """Orthonormal columns, uniformly distributed (Mezzadri, 2007, arXiv math-ph/0609050)."""
    drawn = torch.randn(rows, columns, generator=generator, dtype=torch.float64)
    q, r = torch.linalg.qr(drawn)
    # Otherwise the signs are those that the algorithm prefers.
    uniform: Tensor = q * r.diagonal().sign()
    return uniform


def _number(seed: str) -> int:
    return int.from_bytes(hashlib.sha256(seed.encode()).digest()[:7])
