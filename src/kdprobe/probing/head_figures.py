"""Figures of one number per head: layer x head maps, and one number against another."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from kdprobe.probing.analysis import Figure


def head_map(title: str, caption: str, values: NDArray[np.float64], *, unit: str, signed: bool = False) -> Figure:
    """One cell a head.

    Args:
        title: What it shows.
        caption: How to read it.
        values: `[layer, head]`.
        unit: Of the values.
        signed: Colours around zero, blue above and red below.
    """
    limit = float(np.nanmax(np.abs(values), initial=0)) or 1.0
    colours = {"colorscale": "RdBu", "zmin": -limit, "zmax": limit} if signed else {"colorscale": "Viridis"}
    heat = go.Heatmap(
        z=values.T.tolist(),
        colorbar={"title": unit},
        hovertemplate="layer %{x}, head %{y}: %{z:.4g}<extra></extra>",
        **colours,
    )
    figure = go.Figure(heat)
    figure.update_layout(xaxis_title="layer", yaxis_title="head")
    return Figure(title, caption, figure.to_plotly_json())


def head_scatter(
    title: str,
    caption: str,
    points: Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]],
    axes: tuple[str, str],
) -> Figure:
    """One point a head.

    Args:
        title: What it shows.
        caption: How to read it.
        points: Student to x and y, each `[layer, head]`.
        axes: What x and y are.
    """
    figure = go.Figure()
    for student, (x, y) in points.items():
        heads = [f"layer {layer}, head {head}" for layer, head in np.ndindex(x.shape)]
        figure.add_scatter(
            x=x.ravel().tolist(),
            y=y.ravel().tolist(),
            mode="markers",
            name=student,
            text=heads,
            hovertemplate="%{text}: %{x:.4g}, %{y:.4g}<extra></extra>",
        )
    figure.update_layout(xaxis_title=axes[0], yaxis_title=axes[1])
    return Figure(title, caption, figure.to_plotly_json())
