"""Figures that the page leaves out because its explorer of heads shows the same values."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from kdprobe.report.payload.heads import Grid, HeadMeasure


def is_explored(figure: Mapping[str, Any], measures: Iterable[HeadMeasure]) -> bool:
    """Whether a figure is a map of heads, layers across and heads down, with the values of a grid of the explorer.

    Where effects were computed exactly, the grid has the exact value and a map may have the estimate.

    Args:
        figure: The plotly figure.
        measures: The measures of the explorer.
    """
    traces = figure.get("data", [])
    if len(traces) != 1 or traces[0].get("type") != "heatmap" or not isinstance(traces[0].get("z"), list):
        return False
    cells = [cell for layer in zip(*traces[0]["z"], strict=False) for cell in layer]
    return any(_same(cells, grid) for measure in measures for grid in measure["students"].values())


def _same(cells: list[Any], grid: Grid) -> bool:
    exact = grid["exact"] or [False] * len(grid["value"])
    return len(cells) == len(grid["value"]) and all(
        was_exact or _close(cell, value) for cell, value, was_exact in zip(cells, grid["value"], exact, strict=True)
    )


def _close(cell: Any, value: float | None) -> bool:
    if not isinstance(cell, int | float) or not math.isfinite(cell):
        return value is None
    return value is not None and math.isclose(cell, value, rel_tol=1e-3, abs_tol=1e-12)
