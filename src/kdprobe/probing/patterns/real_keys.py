"""Attention over tokens: in some models, rows give part of their attention to a learned sink, which is not a token."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from kdprobe.errors import NonFiniteError

_ROUNDING = 1e-4
"""How far float32 rows without a sink may be from summing to one."""


def over_real_keys(pattern: Tensor, queries: Tensor) -> tuple[Tensor, Tensor | None]:
    """Returns a layer's pattern with every row divided by its sum, as entropy and divergence require.

    Args:
        pattern: `[batch, head, query, key]`.
        queries: Which rows belong to real tokens, `[batch, query]`; the others may contain anything.

    Returns:
        The pattern, and the attention that each row gives to a sink, `[batch, head, query]`; without a sink, the
        unchanged pattern and `None`.

    Raises:
        NonFiniteError: A row of a real token contains NaN or infinity.
    """
    totals = pattern.sum(dim=-1)
    if not totals.masked_fill(~queries[:, None], 1).isfinite().all():
        raise NonFiniteError("The attention of a layer is NaN or infinite.")
    left = (1 - totals).clamp_min(0)
    if not (left.masked_fill(~queries[:, None], 0) > _ROUNDING).any():
        return pattern, None
    # Rows of padding may sum to zero.
    return pattern / totals.clamp_min(1e-30)[..., None], left


def sink_sentences(shares: Mapping[str, float], subject: str) -> list[str]:
    """Says for which students the numbers describe only part of their attention.

    Args:
        shares: Student to the share of its attention that goes to learned sinks.
        subject: The start of the sentence about the numbers, up to its verb, such as `the maps show`.
    """
    return [
        f"{name}: {share:.1%} of the attention goes to learned sinks, which are not tokens; {subject} the rest, "
        "normalised to sum to one for every query."
        for name, share in shares.items()
        if share
    ]
