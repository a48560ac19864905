"""p-values: the significance level, adjustment within a family, and formatting."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

SIGNIFICANT = 0.05
FEWEST_DRAWS = round(1 / SIGNIFICANT) - 1
"""The fewest random draws that allow p = 0.05: 19."""
ROUNDING = 1e-4
"""Effects, and differences between effects, of up to this many nats are rounding errors of float32."""


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values within one planned family, in the order given (Holm, 1979).

    As statsmodels' `multipletests`, which collects garbage in every call: with a model in memory, half a second.
    """
    given = np.asarray(p_values, dtype=float)
    order = np.argsort(given, kind="stable")
    # The smallest is multiplied by their number, the next by one less, and none falls below one before it.
    raised = np.maximum.accumulate(given[order] * np.arange(len(given), 0, -1)).clip(max=1.0)
    adjusted = np.empty_like(raised)
    adjusted[order] = raised
    return [float(p) for p in adjusted]


def as_large(effect: float, random: NDArray[np.float64]) -> tuple[int, float]:
    """How many random effects are at least as large as an effect, and the share of all that are, itself included.

    Effects that differ by rounding count as equal.

    Args:
        effect: In nats, in the direction in which effects are large.
        random: The random ones, in the same direction; without any, the share is NaN.
    """
    count = int((random >= effect - ROUNDING).sum())
    return count, (1 + count) / (1 + len(random)) if len(random) else float("nan")


def p_text(p: float) -> str:
    """A p-value, formatted for display."""
    return f"{p:.2f}" if p >= 0.1 else f"{p:.3f}" if p >= 0.001 else f"{p:.1g}"  # noqa: PLR2004
