"""Figures of head metrics: layer curves, and layer x head maps of what changed."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from kdprobe.probing.analysis import Figure

Measured = dict[str, dict[str, NDArray[np.float64]]]
"""Student to metric to `[problem, layer, head]`."""

TITLES = {
    "entropy": ("Attention entropy", "nats"),
    "self_attention": ("Self-attention focus", "mean of the diagonal"),
    "sparsity": ("Sparsity", "share of cells above 0.1"),
    "similarity": ("Similarity to the layer below", "cosine"),
}


def layer_curves(measured: Measured) -> list[Figure]:
    """Per metric, its mean over heads and problems by layer, one curve a student."""
    figures = []
    for metric, (title, unit) in TITLES.items():
        figure = go.Figure()
        for student, metrics in measured.items():
            # Layer 0 has no layer below it, so its similarity is absent rather than averaged.
            curve = metrics[metric].mean(axis=(0, 2))
            layers = np.flatnonzero(~np.isnan(curve))
            figure.add_scatter(x=layers.tolist(), y=curve[layers].tolist(), mode="lines+markers", name=student)
        figure.update_layout(xaxis_title="layer", yaxis_title=unit)
        caption = "Mean over heads and problems; every student reads the same tokens."
        figures.append(Figure(f"{title} by layer", caption, figure.to_plotly_json()))
    return figures


def change_map(measured: Measured) -> list[Figure]:
    """Per student after the first, each head's change of entropy against the first student."""
    base, *others = measured
    figures = [_map(f"Entropy of every head: {base}", measured[base]["entropy"].mean(axis=0), "Viridis", "nats")]
    before = measured[base]["entropy"].mean(axis=0)
    changes = {name: measured[name]["entropy"].mean(axis=0) - before for name in others}
    # One colour scale for all students, or the eye would compare shades that mean different things.
    limit = max((float(np.abs(change).max()) for change in changes.values()), default=1.0)
    for name, change in changes.items():
        title = f"Change of entropy by head: {name} against {base}"
        figures.append(_map(title, change, "RdBu", "nats", limit))
    return figures


def _map(title: str, values: NDArray[np.float64], colours: str, unit: str, limit: float | None = None) -> Figure:
    bounds = {} if limit is None else {"zmin": -limit, "zmax": limit}
    heat = go.Heatmap(
        z=values.T.tolist(),
        colorscale=colours,
        colorbar={"title": unit},
        hovertemplate="layer %{x}, head %{y}: %{z:.4f}<extra></extra>",
        **bounds,
    )
    figure = go.Figure(heat)
    figure.update_layout(xaxis_title="layer", yaxis_title="head")
    return Figure(title, "Mean over problems, one cell a head.", figure.to_plotly_json())
