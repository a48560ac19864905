"""Attention over tokens: some models let each row leave part of its attention to a learned sink, which is no token."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from kdprobe.errors import NonFiniteError

_ROUNDING = 1e-4
"""How far from one rows in float32 may sum without a sink."""


def over_real_keys(pattern: Tensor, queries: Tensor) -> tuple[Tensor, Tensor | None]:
    """A layer's pattern with every row divided by its sum, as entropy and divergence of a distribution need it.

    Args:
        pattern: `[batch, head, query, key]`.
        queries: Which rows are of real tokens, `[batch, query]`; others may hold anything.

    Returns:
        The pattern, and what each row leaves to a sink, `[batch, head, query]`; where no row leaves any, the pattern
        as it is, and `None`.

    Raises:
        NonFiniteError: A row of a real token is NaN or infinite.
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
    """Says for which students the numbers are those of a part of their attention.

    Args:
        shares: Student to the share of its attention that goes to learned sinks.
        subject: What the numbers are and do, to be followed by an object: `the maps show`.
    """
    return [
        f"{name}: {share:.1%} of the attention goes to learned sinks, which are not tokens; {subject} the rest, with "
        "every row divided by its sum."
        for name, share in shares.items()
        if share
    ]
