"""p-values: the significance level, adjustment within a family, and formatting."""

from __future__ import annotations

from collections.abc import Sequence

SIGNIFICANT = 0.05


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values within one planned family, in the order given."""
    if not p_values:
        return []
    from statsmodels.stats.multitest import multipletests

    return [float(p) for p in multipletests(list(p_values), method="holm")[1]]


def p_text(p: float) -> str:
    """A p-value, formatted for display."""
    return f"{p:.2f}" if p >= 0.1 else f"{p:.3f}" if p >= 0.001 else f"{p:.1g}"  # noqa: PLR2004
